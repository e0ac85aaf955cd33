"""docs/configuration.md, written from the settings classes: every key with type, default, meaning and an
example.

`python -m differ.config.reference FILE` writes the page; a test compares it with the code.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from differ.config.problems import key_of, model_of
from differ.config.scalars import Limit
from differ.config.settings import Settings
from differ.config.show import size_text

INTRODUCTION = """\
# Configuration: `scheduler.yaml`

<!-- Generated from the code by `make docs`. Do not edit. -->

A project is a folder with a `scheduler.yaml`. Every command looks for it in the working directory and then
in the folders above, or takes it from `--project DIR`. `differ config check` validates the file, `differ
config schema` prints its JSON Schema for your editor, and `differ config show` prints the settings in
effect with secrets hidden.

An unknown key, a wrong type or an unset variable is an error that names file, line and key; all of them are
told at once, up to ten.

## How values are written

| kind | examples | meaning |
|---|---|---|
| duration | `250ms`, `30s`, `5m`, `1h30m`, `7d`, `2w`, `90` | a plain number is seconds |
| size | `64MiB`, `10GiB`, `1GB`, `4096` | KiB to TiB are powers of 1024, kB to TB of 1000 |
| share | `30%`, `0.5 %`, `0.3` | a part of the whole, from 0 to 1 |
| limit | `20%`, `1000` | a share of the rows, counting from 11 rows on; or a number of rows |
| name | `order_items` | 1 to 63 small letters, digits and underscores, beginning with a letter |
| names | `order_id`, `[region, id]` | one, or a list without repeats |

The file is YAML 1.2: only `true` and `false` are booleans (`no`, `on` and `12:30` are text), dates are
text, a key may stand only once, and tags are refused. Anchors, aliases and `<<` merges work. The file is
UTF-8, at most 1 MiB.

## Values from the environment, and secrets

| written | gives |
|---|---|
| `${NAME}` | the environment variable, anywhere inside a text; it must be set and not empty |
| `${NAME:-default}` | the same, or the default; `${NAME:-}` allows nothing |
| `$${` | the two characters `${` themselves |
| `env:NAME` | as a whole value: a secret from an environment variable |
| `file:PATH` | as a whole value: a secret from a file, without its last line break |

The path of `file:` starts from the project; `file://` is left alone. What these give is always text; keys
that want a number take a number in text. References work in values, not in keys. Values of `env:` and
`file:` and the passwords in URLs never appear in any output. A value of `${NAME}` is hidden as well where
its variable or its key sounds secret (password, token, ...) or where it looks random; use `env:` for
secrets to be sure.

The variable `DIFFER_MASK_KEY` holds the key of `mask: {column: hmac}`, and `differ init --demo` puts the
sample shop's documents in the server that `MONGO_URL` names. Nothing else is read from the environment.
"""


def reference_markdown() -> str:
    """The page as Markdown; deterministic."""
    parts = [INTRODUCTION]
    for title, model in _sections(Settings, ""):
        parts.append(f"\n## {'The file' if not title else f'`{title}`'}\n\n{_lead(model)}\n\n{table(model)}")
    return "".join(parts)


def _sections(model: type[BaseModel], title: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A section and those inside it, in the file's order."""
    yield title, model
    for key, field in _fields(model):
        annotation = field.annotation
        at = f"{title}.{key}" if title else key
        if get_origin(annotation) is dict and (inner := model_of(get_args(annotation)[1])):
            yield from _sections(inner, f"{at}.<name>")
        elif inner := model_of(annotation):
            yield from _sections(inner, at)


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    keyed = [(key_of(item), item[1]) for item in model.model_fields.items()]
    return [(key, field) for key, field in keyed if not key.startswith("(")]


def _lead(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def table(model: type[BaseModel]) -> str:
    """A Markdown table of a section's keys."""
    names = {key_of(item): item[0] for item in model.model_fields.items()}
    rows = ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
    for key, field in _fields(model):
        example = f"`{_cell(field.examples[0])}`" if field.examples else ""
        default = _default(names[key], field)
        rows.append(f"| `{key}` | {_type(field)} | {default} | {_cell(field.description or '')} | {example} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_KINDS = {
    "parse_duration": "duration",
    "parse_size": "size",
    "parse_limit": "limit",
    "parse_whole": "whole number",
    "_parse_workers": "whole number or `auto`",
    "_listed": "names",
    "_check_hosts": "names",
    "_resolve_folder": "folder",
    "_resolve_file": "file",
    "_resolve_database": "URL",
    "_check_listen": "host:port",
    "_check_http_url": "URL",
}


def _type(field: FieldInfo) -> str:
    return _kind(field.annotation, tuple(field.metadata))


def _kind(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    for mark in metadata:
        if name := _KINDS.get(getattr(getattr(mark, "func", None), "__name__", "")):
            return name
    if annotation is float:
        return "share"
    if model_of(annotation) is not None:
        return "mapping"
    origin, args = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _kind(args[0], annotation.__metadata__)
    if origin is Literal:
        return " or ".join(f"`{item}`" for item in args)
    if origin is dict:
        return "mapping"
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in args if part is not type(None))
    return {bool: "boolean", Decimal: "number", Limit: "limit"}.get(annotation, "text")


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None or field.default is None or field.default == ():
        return ""
    value = field.default
    if name.endswith("_bytes"):
        return f"`{size_text(value)}`"
    if name.endswith("_seconds"):
        return f"`{value / 86400:g}d`" if value >= 86400 else f"`{value:g}s`"
    if name.endswith("_share"):
        return f"`{value * 100:g}%`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(arguments: list[str]) -> int:
    """Write the page to the file that is named."""
    Path(arguments[0]).write_text(reference_markdown(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
