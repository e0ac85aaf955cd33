"""The consumers' database: who follows the stream, and how far each has come.

Made by the first write; until then reading it finds nothing. Writes of many callers are coalesced into few durable
transactions. Whoever lets snapshots or windows go, and whoever pins them, does so inside `writing()`, so that they
exclude each other. Lock order: consumers' database, then catalog, never the other way round.

Invariant: a row that is read is the row that was written (its hash says so). All methods may be called from any thread.
"""

from __future__ import annotations

import json
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash
from sqlalchemy import Connection, Engine, Row, create_engine, delete, insert, make_url, select, update

from differ.catalog import consumer_tables as tables
from differ.catalog.coalesce import Coalescer
from differ.catalog.consumer_entries import ConsumerEntry, consumer_entry, group_entry
from differ.catalog.engine import BUSY_SECONDS, catalog_errors, open_engine, take_write_lock, write_options
from differ.errors import BusyError, CorruptionError, StorageError, UsageError
from differ.formats.checkpoint import Checkpoint
from differ.storage import seam

FILE_NAME = "consumers.db"
WRITE_LOCK = 0x6469666665720001
"""The number of the advisory lock that all writers of the consumers' tables in PostgreSQL take."""
WHAT = "consumers' database"


def consumers_url(catalog_url: str, state: Path) -> str:
    """Where a project's consumers' database lies: a file in `state`, or with the catalog where that is a server's."""
    if make_url(catalog_url).get_backend_name() == "sqlite":
        return f"sqlite:///{state / FILE_NAME}"
    return catalog_url


def check_consumer_name(name: str) -> str:
    """The name, when it is 1 to 200 characters without control characters; raises UsageError."""
    if not 1 <= len(name) <= tables.NAME_LENGTH or any(unicodedata.category(c) in _UNPRINTABLE for c in name):
        raise UsageError(
            f"consumer {name[:40]!r}: no such name is possible",
            hint=f"1 to {tables.NAME_LENGTH} characters, none of them a control character",
        )
    return name


_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


class Consumers:
    """An open consumers' database; opened, and made, when first needed."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._opening = threading.Lock()
        self._turn = threading.Lock()
        self._opened: Engine | None = None
        self._inode: int | None = None
        self._is_made = False
        self._coalescer = Coalescer(self.writing)

    # -- transactions ----------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The file, or None where the database is a server's."""
        return Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None

    def exists(self) -> bool:
        """Whether anything was ever written. Never makes the database."""
        if self.path is not None and not self.path.exists():
            return False
        engine = self._engine()
        if not self._is_made:
            with catalog_errors(engine, WHAT), engine.begin() as connection:
                self._is_made = self._find(connection)
        return self._is_made

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A short read transaction; of an empty database where none was made yet."""
        if self.exists():
            with catalog_errors(self._engine(), WHAT), self._engine().begin() as connection:
                yield connection
        else:
            empty = create_engine("sqlite://")
            try:
                with empty.begin() as connection:
                    tables.metadata.create_all(connection)
                    yield connection
            finally:
                empty.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction of its own, durable when it ends; one at a time over all processes.

        Raises BusyError after 30 s of waiting. `put` and its like must not be waited for inside it: they come after.
        """
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise BusyError(f"write {WHAT}: another thread holds it", hint="run it again")
        try:
            engine = self._engine()
            with catalog_errors(engine, WHAT), engine.connect() as plain:
                connection = plain.execution_options(**write_options(engine))
                with connection.begin():
                    take_write_lock(connection, WRITE_LOCK)
                    if not self._is_made and not self._find(connection):
                        tables.metadata.create_all(connection)
                        connection.execute(insert(tables.store).values(id=1, format=tables.FORMAT))
                    yield connection
                    seam.at("consumers.commit")
            self._is_made = True
            seam.at("consumers.done")
        finally:
            self._turn.release()

    def submit(self, work: Callable[[Connection], Any]) -> Future[Any]:
        """Run `work` in a transaction that it shares with whatever else waits; see `Coalescer.submit`."""
        return self._coalescer.submit(work)

    def close(self) -> None:
        """Finish what waits to be written and close the connections; idempotent."""
        self._coalescer.close()
        if self._opened is not None:
            self._opened.dispose()

    def _engine(self) -> Engine:
        """The engine; opened again where the file was put away, as a repair does, so that all write to the same one."""
        with self._opening:
            if self._opened is not None and self._inode != _inode(self.path):
                self._opened.dispose()
                self._opened, self._is_made = None, False
            if self._opened is None:
                url = self._url.render_as_string(hide_password=False)
                self._opened = open_engine(url, WHAT, excuse=self._excuse)
                self._inode = _inode(self.path)
            return self._opened

    def _excuse(self, connection: Connection) -> bool:
        """Whether some records are damaged and nothing else: who reads one of them is told, and the others work."""
        from differ.catalog.consumer_damage import damaged_records, structure

        return structure(connection) is None and any(damaged_records(connection))

    def _find(self, connection: Connection) -> bool:
        if not connection.dialect.has_table(connection, tables.store.name):
            return False
        found = connection.scalar(select(tables.store.c.format))
        if found is not None and found != tables.FORMAT:
            raise StorageError(
                f"open {WHAT}: its format is {found}, this differ reads {tables.FORMAT}",
                hint="use the differ that wrote it, or a newer one",
            )
        return found is not None

    # -- consumers -------------------------------------------------------------------------------------------------

    def get(self, name: str) -> ConsumerEntry | None:
        """A consumer or consumer group by its name. Raises CorruptionError for a row that is not what was written."""
        with self.reading() as connection:
            return next(iter(_entries(connection, name)), None)

    def all(self) -> list[ConsumerEntry]:
        """All consumers and consumer groups by name."""
        with self.reading() as connection:
            return sorted(_entries(connection, None), key=lambda entry: entry.name)

    def put(
        self,
        name: str,
        *,
        checkpoint: Checkpoint | None = None,
        sources: Sequence[str] | None = None,
        client: str | None = None,
    ) -> ConsumerEntry:
        """Register a consumer, or move its checkpoint; what is None stays as it is (a new one follows all sources).

        Durable when it returns. Raises UsageError for a name that is none, or that of a consumer group.
        """
        return self.put_soon(name, checkpoint=checkpoint, sources=sources, client=client).result()

    def put_soon(
        self,
        name: str,
        *,
        checkpoint: Checkpoint | None = None,
        sources: Sequence[str] | None = None,
        client: str | None = None,
    ) -> Future[ConsumerEntry]:
        """The same without waiting: the future is done when it is durable, or holds the error."""
        check_consumer_name(name)
        values: dict[str, Any] = {}
        if checkpoint is not None:
            values |= {"checkpoint": json.dumps(checkpoint.to_json()), "scn": checkpoint.cursor.scn}
        if sources is not None:
            values["sources"] = json.dumps(sorted(set(sources)))
        if client is not None:
            values["client"] = client
        return self.submit(lambda connection: _put(connection, name, values))

    def reset(self, name: str) -> bool:
        """Forget a consumer's checkpoint, so that it bootstraps the next time; False when there is no such consumer."""
        from differ.catalog.groups import Groups

        future: Future[bool] = self.submit(lambda connection: _reset(connection, name))
        return future.result() or Groups(self).reset(name)

    def remove(self, name: str) -> bool:
        """Forget a consumer or group and let go of its pins; False when there is none. One that runs registers anew."""
        future: Future[bool] = self.submit(lambda connection: _remove(connection, name))
        return future.result()

    def laggards(self, connection: Connection, below: int) -> list[ConsumerEntry]:
        """The consumers and groups that stand somewhere below an SCN, read in the given transaction of this database.

        Raises CorruptionError when one of them is not what was written.
        """
        query = select(tables.consumers).where(tables.consumers.c.scn < below)
        found = [_consumer(row) for row in connection.execute(query)] + _groups(connection, None)
        return [entry for entry in found if any(cursor.scn < below for cursor in entry.cursors)]


def _inode(path: Path | None) -> int | None:
    return path.stat().st_ino if path is not None and path.exists() else None


def _entries(connection: Connection, name: str | None) -> list[ConsumerEntry]:
    query = select(tables.consumers)
    if name is not None:
        query = query.where(tables.consumers.c.name == name)
    return [_consumer(row) for row in connection.execute(query)] + _groups(connection, name)


def _consumer(row: Row[Any]) -> ConsumerEntry:
    if row.row_hash != row_hash(dict(row._mapping)):
        raise CorruptionError(
            f"read {WHAT}: the row of consumer {row.name!r} is not what was written",
            hint="run 'differ check', then 'differ repair'",
        )
    return consumer_entry(row)


def _groups(connection: Connection, name: str | None) -> list[ConsumerEntry]:
    found, parts, joined = select(tables.groups), select(tables.partitions), select(tables.members)
    if name is not None:
        found = found.where(tables.groups.c.name == name)
        parts = parts.where(tables.partitions.c.group_name == name)
        joined = joined.where(tables.members.c.group_name == name)
    groups = connection.execute(found).all()
    if not groups:
        return []
    rows: dict[str, list[Row[Any]]] = defaultdict(list)
    members: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(parts.order_by(tables.partitions.c.number)):
        rows[row.group_name].append(row)
    for row in connection.execute(joined):
        members[row.group_name].append(row)
    return [group_entry(group, rows[group.name], members[group.name]) for group in groups]


def _put(connection: Connection, name: str, values: dict[str, Any]) -> ConsumerEntry:
    table = tables.consumers
    row = connection.execute(select(table).where(table.c.name == name)).first()
    if row is None and connection.scalar(select(tables.groups.c.name).where(tables.groups.c.name == name)) is not None:
        raise UsageError(
            f"checkpoint of consumer {name!r}: it is a consumer group",
            hint="join the group; a member's checkpoints carry their tokens",
        )
    moment = tables.moment()
    body = {"name": name, "sources": "[]", "checkpoint": None, "scn": None, "created_at": moment, "client": None}
    if row is not None:
        body |= {key: value for key, value in row._mapping.items() if key != "row_hash"}
    body |= values | {"updated_at": moment}
    body["row_hash"] = row_hash(body)
    if row is None:
        connection.execute(insert(table).values(**body))
    else:
        connection.execute(update(table).where(table.c.name == name).values(**body))
    return consumer_entry(body)


def _reset(connection: Connection, name: str) -> bool:
    if connection.scalar(select(tables.consumers.c.name).where(tables.consumers.c.name == name)) is None:
        return False
    _put(connection, name, {"checkpoint": None, "scn": None})
    return True


def _remove(connection: Connection, name: str) -> bool:
    connection.execute(delete(tables.pins).where(tables.pins.c.consumer == name))
    connection.execute(delete(tables.members).where(tables.members.c.group_name == name))
    connection.execute(delete(tables.partitions).where(tables.partitions.c.group_name == name))
    gone = [
        connection.execute(delete(table).where(table.c.name == name)).rowcount
        for table in (tables.groups, tables.consumers)
    ]
    return any(gone)


_HASHED = ("name", "sources", "checkpoint", "scn", "created_at", "updated_at", "client")


def row_hash(row: Any) -> str:
    """The hash that a row of `consumers` carries: xxh3_128 over its other columns as JSON."""
    body = json.dumps([row[name] for name in _HASHED], separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(body.encode())
