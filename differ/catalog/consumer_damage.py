"""What is wrong in the consumers' database, record by record, and the least that has to be forgotten to go on.

A record that is not what was written is never used. Forgetting it costs a bootstrap, never an event: whoever finds no
checkpoint begins from a snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from differ.catalog import consumer_tables as tables
from differ.catalog.consumer_entries import consumer_entry
from differ.catalog.consumers import WHAT, Consumers, row_hash
from differ.errors import CorruptionError, DifferError
from differ.formats.checkpoint import checkpoint_from_json
from differ.formats.cursor import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A record that is not what was written: its table and key; None for the database as a whole."""

    problem: str
    record: tuple[str, ...] | None


def damage(consumers: Consumers) -> Iterator[Damage]:
    """Yield what is wrong; nothing when all is well, or when there is no such database. Cost: one query a record."""
    try:
        if not consumers.exists():
            return
        with consumers.reading() as connection:
            problem = structure(connection)
            if problem is not None:
                yield Damage(problem=f"{WHAT}: {problem}", record=None)
                return
            yield from damaged_records(connection)
    except DifferError as error:
        yield Damage(problem=error.message, record=None)


def structure(connection: Connection) -> str | None:
    """What is wrong with the database's pages and indices, or None. Cost: one read of it all."""
    if connection.dialect.name != "sqlite":
        return None
    answer = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    return None if answer == "ok" else str(answer)


def damaged_records(connection: Connection) -> Iterator[Damage]:
    """Yield each record that is not what was written. Cost: one query a record."""
    for table in (tables.consumers, tables.groups, tables.partitions, tables.pins):
        for key in connection.execute(select(*table.primary_key.columns)).all():
            problem = _problem(connection, table.name, tuple(key))
            if problem is not None:
                yield Damage(problem=problem, record=(table.name, *map(str, key)))


def forget(connection: Connection, record: tuple[str, ...]) -> None:
    """Forget a damaged record in a write transaction of the database: of a partition its checkpoint alone."""
    where = _where(*record)
    if record[0] == tables.partitions.name:
        connection.execute(update(tables.partitions).where(*where).values(checkpoint=None))
        return
    connection.execute(delete(_TABLES[record[0]]).where(*where))
    if record[0] == tables.groups.name:
        for table in (tables.members, tables.partitions):
            connection.execute(delete(table).where(table.c.group_name == record[1]))


def consequence(record: tuple[str, ...]) -> str:
    """What forgetting a damaged record does, in words."""
    return {
        tables.consumers.name: "forget consumer {0!r}: it registers anew, and bootstraps",
        tables.groups.name: "forget consumer group {0!r}: its members join anew, and bootstrap",
        tables.partitions.name: "forget the checkpoint of partition {1} of consumer group {0!r}: it bootstraps",
        tables.pins.name: "let go of the pin {0}: its bootstrap begins anew",
    }[record[0]].format(*record[1:])


_TABLES = {table.name: table for table in (tables.consumers, tables.groups, tables.partitions, tables.pins)}


def _problem(connection: Connection, table: str, key: tuple[Any, ...]) -> str | None:
    name = " ".join(map(str, key))
    try:
        row = connection.execute(select(_TABLES[table]).where(*_where(table, *key))).one()
        if table == tables.consumers.name:
            if row.row_hash != row_hash(row._mapping):
                raise CorruptionError(f"the row of consumer {name!r} is not what was written")
            consumer_entry(row)
        elif table == tables.partitions.name and row.checkpoint is not None:
            checkpoint_from_json(json.loads(row.checkpoint))
        elif table == tables.pins.name:
            Cursor.parse(row.cursor)
    except (DifferError, ValueError) as error:
        return f"{WHAT}: {table} {name}: {error.message if isinstance(error, DifferError) else error}"
    return None


def _where(table: str, *key: Any) -> list[Any]:
    return [
        column == column.type.python_type(part) for column, part in zip(_TABLES[table].primary_key, key, strict=True)
    ]
