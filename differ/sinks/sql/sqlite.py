"""SQLite: prepared statements over lists of rows, which is its bulk path."""

# ruff: noqa: S608  (names are quoted, values are bound)

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from differ.sinks.sql.writer import Rows, Writer


class SQLiteWriter(Writer):
    """Writes through `ON CONFLICT`, which needs a unique index on the key."""

    def upsert(self, table: sa.Table, key: Sequence[str], columns: Sequence[str], rows: Rows) -> None:
        """See `Writer.upsert`."""
        updates = ", ".join(f"{self.quote(name)} = excluded.{self.quote(name)}" for name in columns[len(key) :])
        marks = ", ".join(["?"] * len(columns))
        statement = (
            f"INSERT INTO {self.name(table)} ({self.names(columns)}) VALUES ({marks})"
            f" ON CONFLICT ({self.names(key)}) DO {'UPDATE SET ' + updates if updates else 'NOTHING'}"
        )
        self.connection.exec_driver_sql(statement, list(rows))

    def delete(self, table: sa.Table, key: Sequence[str], keys: Rows) -> None:
        """See `Writer.delete`."""
        same = " AND ".join(f"{self.quote(name)} = ?" for name in key)
        self.connection.exec_driver_sql(f"DELETE FROM {self.name(table)} WHERE {same}", list(keys))
