"""Rows into a table in bulk, one writer a database; this one speaks SQL that every database has.

    upsert    UPDATE all rows, then INSERT those that no row has the key of
    delete    by key

Statements are run with lists of rows, never row by row from here. Writers are handed values that `adapter` made.
Invariant: within one call keys are unique, so the order of the rows does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

Rows = Sequence[tuple[Any, ...]]


class Writer:
    """Bound to one connection, inside the caller's transaction. `key` and `columns` are names of `table`'s columns."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.quote = connection.dialect.identifier_preparer.quote_identifier

    def upsert(self, table: sa.Table, key: Sequence[str], columns: Sequence[str], rows: Rows) -> None:
        """Write whole rows; `columns` begins with the key's."""
        others = columns[len(key) :]
        names = {name: f"differ_value_{index}" for index, name in enumerate(columns)}
        where = [table.c[name] == _raw(f"differ_key_{index}") for index, name in enumerate(key)]
        given = [_named("differ_value_", row) | _named("differ_key_", row[: len(key)]) for row in rows]
        if others:
            values = {name: _raw(names[name]) for name in others}
            self.connection.execute(sa.update(table).where(*where).values(values), given)
        source = sa.select(*(_raw(names[name]) for name in columns)).where(~sa.exists().where(*where))
        self.connection.execute(sa.insert(table).from_select(list(columns), source), given)

    def delete(self, table: sa.Table, key: Sequence[str], keys: Rows) -> None:
        """Remove the rows of these keys, where they are."""
        where = [table.c[name] == _raw(f"differ_key_{index}") for index, name in enumerate(key)]
        self.connection.execute(sa.delete(table).where(*where), [_named("differ_key_", row) for row in keys])

    def copy(self, into: sa.Table, source: sa.Table, columns: Sequence[str]) -> None:
        """All rows of a table of the same columns into an empty one."""
        chosen = sa.select(*(source.c[name] for name in columns))
        self.connection.execute(sa.insert(into).from_select(list(columns), chosen))

    # -- for databases with an upsert of their own --------------------------------------------------------------------

    def name(self, table: sa.Table) -> str:
        """The table's name for a statement, quoted."""
        return self.connection.dialect.identifier_preparer.format_table(table)

    def names(self, columns: Sequence[str]) -> str:
        """Column names for a statement, quoted."""
        return ", ".join(self.quote(name) for name in columns)


def _named(prefix: str, row: Sequence[Any]) -> dict[str, Any]:
    return {f"{prefix}{index}": value for index, value in enumerate(row)}


class _AsIs(sa.types.UserDefinedType[Any]):
    """A value that goes to the driver as it is, whatever the column that it is compared with or written to."""

    cache_ok = True

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self

    def get_col_spec(self, **_: Any) -> str:
        raise NotImplementedError("no column has this type")


def _raw(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=_AsIs())
