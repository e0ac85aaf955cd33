"""MariaDB and MySQL: multi-row INSERT .. ON DUPLICATE KEY UPDATE, deletes by lists of keys.

Source: the MariaDB manual.
"""

# ruff: noqa: S608  (names are quoted, values are bound)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import sqlalchemy as sa

from differ.sinks.sql.writer import Rows, Writer

DELETE_KEYS_MAX = 1_000
INSERT_ROWS_MAX = 1_000
INSERT_BYTES_MAX = 1 << 20
"""Of texts and bytes in one statement; a server takes 16 MiB by default, and one row may be larger than this."""


class MariaDBWriter(Writer):
    """Writes through `ON DUPLICATE KEY`, which looks at every unique index of the table."""

    def upsert(self, table: sa.Table, key: Sequence[str], columns: Sequence[str], rows: Rows) -> None:
        """See `Writer.upsert`."""
        one = "(" + ", ".join(["%s"] * len(columns)) + ")"
        changed = columns[len(key) :] or columns[:1]
        updates = ", ".join(f"{self.quote(name)} = VALUES({self.quote(name)})" for name in changed)
        head = f"INSERT INTO {self.name(table)} ({self.names(columns)}) VALUES "
        tail = f" ON DUPLICATE KEY UPDATE {updates}"
        for part in _parts(rows):
            statement = head + ", ".join([one] * len(part)) + tail
            self.connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))

    def delete(self, table: sa.Table, key: Sequence[str], keys: Rows) -> None:
        """See `Writer.delete`."""
        one = "%s" if len(key) == 1 else "(" + ", ".join(["%s"] * len(key)) + ")"
        for start in range(0, len(keys), DELETE_KEYS_MAX):
            part = keys[start : start + DELETE_KEYS_MAX]
            marks = ", ".join([one] * len(part))
            names = self.names(key) if len(key) == 1 else f"({self.names(key)})"
            statement = f"DELETE FROM {self.name(table)} WHERE {names} IN ({marks})"
            self.connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))


def _parts(rows: Rows) -> Iterator[list[tuple[Any, ...]]]:
    """The rows in parts that make statements of a sensible size."""
    part: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        part.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(part) >= INSERT_ROWS_MAX or size >= INSERT_BYTES_MAX:
            yield part
            part, size = [], 0
    if part:
        yield part
