"""PostgreSQL: COPY into a temporary table, then one INSERT .. ON CONFLICT; few rows go without the table.

The temporary table is made once for a connection and set of columns, and empties itself at each commit. Drivers other
than psycopg have no COPY in common, so they get lists of rows. Source: the PostgreSQL manual, "Populating a Database".
"""

# ruff: noqa: S608  (names are quoted, values are bound)

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from differ.sinks.sql.writer import Rows, Writer

COPY_ROWS_MIN = 100


class PostgreSQLWriter(Writer):
    """Writes through `ON CONFLICT`, which needs a unique index on the key."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        self._made: set[str] = set()
        self._filled: dict[str, Any] = {}

    def upsert(self, table: sa.Table, key: Sequence[str], columns: Sequence[str], rows: Rows) -> None:
        """See `Writer.upsert`."""
        target, names = self.name(table), self.names(columns)
        updates = ", ".join(f"{self.quote(name)} = excluded.{self.quote(name)}" for name in columns[len(key) :])
        conflict = f"ON CONFLICT ({self.names(key)}) DO {'UPDATE SET ' + updates if updates else 'NOTHING'}"
        if self._copies(rows):
            staged = self._stage(table, columns, rows)
            self.connection.exec_driver_sql(f"INSERT INTO {target} ({names}) SELECT {names} FROM {staged} {conflict}")
        else:
            marks = ", ".join(["%s"] * len(columns))
            statement = f"INSERT INTO {target} ({names}) VALUES ({marks}) {conflict}"
            self.connection.exec_driver_sql(statement, list(rows))

    def delete(self, table: sa.Table, key: Sequence[str], keys: Rows) -> None:
        """See `Writer.delete`."""
        target = self.name(table)
        if self._copies(keys):
            staged = self._stage(table, key, keys)
            same = " AND ".join(f"{target}.{self.quote(name)} = gone.{self.quote(name)}" for name in key)
            self.connection.exec_driver_sql(f"DELETE FROM {target} USING {staged} AS gone WHERE {same}")
        else:
            same = " AND ".join(f"{self.quote(name)} = %s" for name in key)
            self.connection.exec_driver_sql(f"DELETE FROM {target} WHERE {same}", list(keys))

    def _copies(self, rows: Rows) -> bool:
        return len(rows) >= COPY_ROWS_MIN and self.connection.dialect.driver == "psycopg"

    def _stage(self, table: sa.Table, columns: Sequence[str], rows: Rows) -> str:
        """Copy the rows into a temporary table of these columns; returns its name."""
        target, names = self.name(table), self.names(columns)
        digest = hashlib.sha256(f"{target}({names})".encode()).hexdigest()[:16]
        staged = f"differ_rows_{digest}"
        if staged not in self._made:
            self.connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS"
                f" AS SELECT {names} FROM {target} WITH NO DATA"
            )
            self._made.add(staged)
        transaction = self.connection.get_transaction()
        if self._filled.get(staged) is transaction:
            self.connection.exec_driver_sql(f"TRUNCATE {staged}")
        self._filled[staged] = transaction
        driver: Any = self.connection.connection.driver_connection
        # Without parameters psycopg takes a percent sign for itself, where SQLAlchemy's quoting has doubled it.
        statement = f"COPY {staged} ({names}) FROM STDIN".replace("%%", "%")
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
        return staged
