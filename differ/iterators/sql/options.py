"""What scheduler.yaml may say under `options:` of a source with `iterator: sql`, checked before any connection.

Invariant: an option that is not known, or not of its type, is an error that names it; nothing is silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from differ.errors import ConfigError
from differ.iterators.contract import Context

BATCH_ROWS_MAX = 1_000_000
PARALLEL_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one source; exactly one of `table` and `query` is set.

    url: SQLAlchemy URL. table: name, or schema.name. query: any SELECT. columns: what to read; all when empty.
    where: SQL condition of a table. as_text: columns read as the database's own text. isolation: overrides the
    dialect's level. batch_rows: rows per batch. fast: whether the dialect's faster path is taken where there is one.
    parallel: how many connections read a table of PostgreSQL. connect_args: passed to the driver as they are.
    """

    url: str
    table: str | None = None
    query: str | None = None
    columns: tuple[str, ...] = ()
    where: str | None = None
    as_text: tuple[str, ...] = ()
    isolation: str | None = None
    batch_rows: int | None = None
    fast: bool = True
    parallel: int = 1
    connect_args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, ctx: Context) -> Options:
        """Check and freeze `ctx.options`. Raises ConfigError naming source and option."""
        raw = dict(ctx.options)
        known = [item.name for item in fields(cls)]
        for name in raw:
            if name not in known:
                raise _wrong(ctx, f"{name!r} is not an option of the sql iterator", nearest(name, known))
        values = {name: _checked(ctx, name, value) for name, value in raw.items() if value is not None}
        if "url" not in values:
            raise _wrong(ctx, "`url` is missing", "for example url: sqlite:///shop.db")
        if ("table" in values) == ("query" in values):
            raise _wrong(ctx, "give either `table` or `query`", "table: orders, or query: SELECT ...")
        if "query" in values and "where" in values:
            raise _wrong(ctx, "`where` belongs to a `table`", "write the condition into the query")
        if values.get("parallel", 1) > 1 and not values["url"].startswith("postgres"):
            raise _wrong(ctx, "`parallel` is for PostgreSQL alone", "no other database lends its snapshot")
        return cls(**values)


def nearest(name: str, known: list[str]) -> str:
    """A hint that names what `name` may have meant, else what there is."""
    folded = {item.casefold(): item for item in known}
    close = [folded[item] for item in get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.6)]
    if close:
        return f"did you mean {', '.join(close)}?"
    listed = ", ".join(sorted(known)[:12])
    return f"there is {listed}" + (", ..." if len(known) > 12 else "") if known else "there is none"


def _checked(ctx: Context, name: str, value: Any) -> Any:
    match name:
        case "columns" | "as_text":
            names = [value] if isinstance(value, str) else value
            if not isinstance(names, list | tuple) or not all(isinstance(item, str) for item in names):
                raise _wrong(ctx, f"`{name}` must be a list of column names", f"{name}: [id, status]")
            if len(set(names)) < len(names):
                raise _wrong(ctx, f"`{name}` names a column twice", "name each column once")
            return tuple(names)
        case "batch_rows" | "parallel":
            whole = isinstance(value, int) and not isinstance(value, bool)
            most, example = (BATCH_ROWS_MAX, 20000) if name == "batch_rows" else (PARALLEL_MAX, 4)
            if not whole or not 1 <= value <= most:
                raise _wrong(ctx, f"`{name}` must be from 1 to {most}, a whole number", f"{name}: {example}")
            return value
        case "fast":
            if not isinstance(value, bool):
                raise _wrong(ctx, "`fast` must be true or false", "fast: false")
            return value
        case "connect_args":
            if not isinstance(value, Mapping):
                raise _wrong(ctx, "`connect_args` must be a mapping", "connect_args: {connect_timeout: 30}")
            return dict(value)
        case _:
            if not isinstance(value, str) or not value.strip():
                raise _wrong(ctx, f"`{name}` must be a text", f"{name}: ...")
            return value.strip()


def _wrong(ctx: Context, message: str, hint: str) -> ConfigError:
    return ConfigError(f"source {ctx.source}: options: {message}", hint=hint)
