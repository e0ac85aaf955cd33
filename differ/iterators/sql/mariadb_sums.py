"""Checksums on MariaDB and MySQL: half of an MD5 over each row's text, summed by key range.

    BIT_XOR(CAST(CONV(LEFT(MD5(CONCAT_WS(',', QUOTE(a), QUOTE(b), ...)), 16), 16, 10) AS UNSIGNED))

QUOTE makes the text of a row tell its columns apart, and NULL (a bare word) from every value. What is quoted is what
is selected, as bytes: no collation has a say. CRC32 would be quicker, but it is linear: rows that swap a value can
leave the sum as it was.

Invariant: a row whose hash cannot be made (its text is longer than max_allowed_packet) counts as moved every time.
Source: pt-table-checksum of Percona Toolkit, with a hash that is not linear.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from differ.iterators.sql.fields import Field
from differ.iterators.sql.relation import Relation


class MariaDBSums:
    """The checksums of tables on MariaDB and MySQL."""

    def why_not(self, connection: sa.Connection, relation: Relation) -> str | None:
        """None for tables that are none of the server's own views."""
        query = sa.text(
            "SELECT table_type FROM information_schema.tables "
            "WHERE table_schema = coalesce(:schema, database()) AND table_name = :name"
        )
        kind = connection.execute(query, {"schema": relation.schema, "name": relation.table}).scalar()
        if kind in ("BASE TABLE", "SYSTEM VERSIONED"):
            return None
        return "it is a view, which may give other rows when it is asked twice"

    def server(self, connection: sa.Connection) -> list[str]:
        """The version."""
        return [str(connection.exec_driver_sql("SELECT version()").scalar_one())]

    def prepare(self, connection: sa.Connection) -> None:
        """Stop the session's clock, so that NOW() in a `where` means the same for sums and rows."""
        connection.exec_driver_sql("SET SESSION timestamp = UNIX_TIMESTAMP(NOW(6))")

    def begin(self, connection: sa.Connection) -> None:
        """Nothing: a statement that fails leaves the transaction as it is."""

    def end(self, connection: sa.Connection, *, failed: bool) -> None:
        """Nothing."""

    def range_id(self, key: str, shift: int) -> str:
        """A shift that rounds down: the server's own takes a negative number for a large one."""
        below = f"-1 - CAST((-1 - {key}) >> {shift} AS SIGNED)"
        return f"IF({key} < 0, {below}, CAST({key} >> {shift} AS SIGNED))"

    def select(self, relation: Relation, columns: Sequence[tuple[str, Field]], key: str, shift: int) -> str:
        """XOR of the hashes; UUID() stands for a hash that cannot be made, and is another one each time."""
        parts = ", ".join(f"QUOTE(CAST({_selected(field, column)} AS BINARY))" for column, field in columns)
        digest = f"IFNULL(MD5(CONCAT_WS(',', {parts})), MD5(UUID()))"
        total = f"BIT_XOR(CAST(CONV(LEFT({digest}, 16), 16, 10) AS UNSIGNED))"
        return f"{relation.select(f'{self.range_id(key, shift)}, count(*), {total}')} GROUP BY 1"


def _selected(field: Field, column: str) -> str:
    return field.expression.removesuffix(f" AS {column}")
