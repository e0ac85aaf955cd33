"""MariaDB and MySQL: multi-row INSERT .. ON DUPLICATE KEY UPDATE, deletes by lists of keys.

The driver joins the rows of a list into statements of many rows. Source: the MariaDB manual.
"""

# ruff: noqa: S608  (names are quoted, values are bound)

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import sqlalchemy as sa

from differ.sinks.sql.writer import Rows, Writer

DELETE_KEYS_MAX = 1_000


class MariaDBWriter(Writer):
    """Writes through `ON DUPLICATE KEY`, which looks at every unique index of the table."""

    def upsert(self, table: sa.Table, key: Sequence[str], columns: Sequence[str], rows: Rows) -> None:
        """See `Writer.upsert`."""
        marks = ", ".join(["%s"] * len(columns))
        changed = columns[len(key) :] or columns[:1]
        updates = ", ".join(f"{self.quote(name)} = VALUES({self.quote(name)})" for name in changed)
        statement = (
            f"INSERT INTO {self.name(table)} ({self.names(columns)}) VALUES ({marks}) ON DUPLICATE KEY UPDATE {updates}"
        )
        self.connection.exec_driver_sql(statement, list(rows))

    def delete(self, table: sa.Table, key: Sequence[str], keys: Rows) -> None:
        """See `Writer.delete`."""
        one = "%s" if len(key) == 1 else "(" + ", ".join(["%s"] * len(key)) + ")"
        for start in range(0, len(keys), DELETE_KEYS_MAX):
            part = keys[start : start + DELETE_KEYS_MAX]
            marks = ", ".join([one] * len(part))
            names = self.names(key) if len(key) == 1 else f"({self.names(key)})"
            statement = f"DELETE FROM {self.name(table)} WHERE {names} IN ({marks})"
            self.connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))
