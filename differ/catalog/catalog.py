"""The catalog: what is committed, and the one transaction that commits.

Everything a cycle writes lies in files that nothing refers to, until `commit` (in commit.py) makes snapshot, events
and SCN range visible together. Readers start here. All methods may be called from any thread.

Invariant: head_scn is the last SCN of the last window; windows are contiguous; the chain of a window is the hash of the
one before it and of what the window holds. A floor that is raised has a number above all floors before it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, true, update

from differ.catalog import tables
from differ.catalog.engine import catalog_errors, look_again, open_engine, take_write_lock, write_options
from differ.catalog.entries import (
    SegmentEntry,
    SourceEntry,
    cycle_hash,
    to_text,
)
from differ.catalog.reading import CatalogReader
from differ.catalog.totals import count_scan
from differ.errors import StorageError, UsageError
from differ.storage import seam

GENESIS = "0" * 64
FRESH = {"epoch": 0, "cycles": 0, "floor_scn": 0, "floor_number": 0, "paused": False, "rebaseline": False}
"""A source before its first cycle."""


def now() -> datetime:
    """The time for people; it orders nothing."""
    return datetime.now(UTC)


class Catalog(CatalogReader):
    """An open catalog; makes its tables and its stream id the first time."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        with catalog_errors(self.engine):
            self._prepare()

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()

    def verify(self) -> None:
        """Look at every byte of the database, however short ago that was; raises CorruptionError. A server's database
        is left to the server."""
        look_again(self.engine)
        with self.reading():
            pass

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction that holds the write lock from its start; raises BusyError after 30 s of waiting.

        One writer at a time, so that commits of different sources follow each other and never abort each other.
        """
        with catalog_errors(self.engine), self.engine.connect() as plain:
            connection = plain.execution_options(**write_options(self.engine))
            with connection.begin():
                take_write_lock(connection)
                yield connection
                seam.at("catalog.commit")
        seam.at("catalog.done")

    def _prepare(self) -> None:
        with self.reading() as connection:
            if self.engine.dialect.has_table(connection, "stream"):
                row = connection.execute(select(tables.stream)).first()
                if row is not None:
                    self._check_format(row.format)
                    return
        with self.writing() as connection:
            tables.metadata.create_all(connection)
            if connection.execute(select(tables.stream.c.id)).first() is None:
                first = {"id": 1, "format": tables.FORMAT, "stream_id": str(uuid.uuid4()), "created_at": to_text(now())}
                first |= {"head_scn": 0, "chain": GENESIS, "floors": 0, "segment_bytes": 0}
                first |= {"kept_after_scn": 0, "kept_after_chain": GENESIS}
                connection.execute(insert(tables.stream).values(**first))

    def _check_format(self, found: int) -> None:
        if found != tables.FORMAT:
            raise StorageError(
                f"open catalog: its format is {found}, this differ reads {tables.FORMAT}",
                hint="use the differ that wrote it, or a newer one",
            )

    def begin_cycle(self, source: str, commit_id: str) -> tuple[SourceEntry, int]:
        """Take a new lease epoch and cycle number for the source; the caller holds its lock."""
        table = tables.sources
        with self.writing() as connection:
            row = connection.execute(select(table).where(table.c.name == source)).first()
            if row is None:
                connection.execute(insert(table).values(name=source, **FRESH))
            connection.execute(
                update(table).where(table.c.name == source).values(epoch=table.c.epoch + 1, cycles=table.c.cycles + 1)
            )
            row = connection.execute(select(table).where(table.c.name == source)).one()
            entry = SourceEntry.from_row(row)
            write_cycle(
                connection,
                {
                    "source": source, "cycle": entry.cycles, "commit_id": commit_id, "epoch": entry.epoch,
                    "status": "running", "base_cycle": entry.current, "started_at": to_text(now()),
                },
            )  # fmt: skip
            return entry, entry.cycles

    def take_epoch(self, source: str) -> SourceEntry:
        """Take a new lease epoch without a cycle, for `approve`, `reject` and repairs; the caller holds its lock."""
        table = tables.sources
        with self.writing() as connection:
            connection.execute(update(table).where(table.c.name == source).values(epoch=table.c.epoch + 1))
            row = connection.execute(select(table).where(table.c.name == source)).first()
        if row is None:
            raise UsageError(f"read source {source}: it had no cycle yet", hint=f"run 'differ scan --source {source}'")
        return SourceEntry.from_row(row)

    def end_cycle(self, source: str, cycle: int, status: str, result: dict[str, Any], *, scanned: bool = True) -> None:
        """Record how a cycle that changes nothing ended: failed, rejected or superseded. scanned: as in `Proposal`."""
        with self.writing() as connection:
            row = connection.execute(
                select(tables.cycles).where(tables.cycles.c.source == source, tables.cycles.c.cycle == cycle)
            ).one()
            body = dict(row._mapping) | {"status": status, "finished_at": to_text(now()), "result": json.dumps(result)}
            write_cycle(connection, body)
            if scanned and row.status == "running":
                count_scan(connection, source, status, result)

    def set_flag(self, source: str, *, paused: bool | None = None, rebaseline: bool | None = None) -> None:
        """Pause or resume a source, or ask for a new base at its next cycle; makes the source's row if need be."""
        table = tables.sources
        values = {name: value for name, value in (("paused", paused), ("rebaseline", rebaseline)) if value is not None}
        with self.writing() as connection:
            if connection.execute(select(table.c.name).where(table.c.name == source)).first() is None:
                connection.execute(insert(table).values(name=source, **(FRESH | values)))
            else:
                connection.execute(update(table).where(table.c.name == source).values(**values))

    def let_go(self, source: str, snapshots: Sequence[int], cycles: Sequence[int]) -> None:
        """Forget what these committed cycles wrote (their snapshots go, their events stay), and these whole rows.

        The rows of committed cycles go when their events are gone too, but for the last before the oldest that is kept:
        it says that there was a state, and that it was let go.
        """
        if not snapshots and not cycles:
            return
        table = tables.cycles
        with self.writing() as connection:
            connection.execute(table.delete().where(table.c.source == source, table.c.cycle.in_(cycles)))
            _let_snapshots_go(connection, source, snapshots)

    def let_windows_go(self, last_scn: int) -> int:
        """Stop referring to the windows that end at this SCN or before; returns how many. Their files are swept later.

        The stream keeps the boundary, so that a cursor that stands just there can still be verified. Idempotent.
        """
        windows, segments = tables.windows, tables.segments
        with self.writing() as connection:
            gone = (windows.c.last_scn <= last_scn,)
            newest = connection.execute(
                select(windows).where(*gone).order_by(windows.c.last_scn.desc()).limit(1)
            ).first()
            if newest is None:
                return 0
            boundary = {"kept_after_scn": newest.last_scn, "kept_after_chain": newest.chain}
            connection.execute(segments.delete().where(segments.c.window_first <= newest.first_scn))
            connection.execute(update(tables.stream).values(**boundary))
            return connection.execute(windows.delete().where(windows.c.last_scn <= last_scn)).rowcount

    def lose_segment(self, segment: SegmentEntry) -> None:
        """Stop referring to a damaged segment and raise its source's floor to the segment's last SCN."""
        table = tables.sources
        with self.writing() as connection:
            connection.execute(tables.segments.delete().where(tables.segments.c.first_scn == segment.first_scn))
            behind = (table.c.name == segment.source, table.c.floor_scn < segment.last_scn)
            if connection.execute(select(table.c.name).where(*behind)).first() is not None:
                raise_floor(connection, segment.source, segment.last_scn)

    def lose_snapshot(self, source: str, cycle: int) -> None:
        """Stop referring to a damaged snapshot; without its current one a source makes a new base at its next cycle."""
        table = tables.sources
        with self.writing() as connection:
            _let_snapshots_go(connection, source, [cycle])
            connection.execute(
                update(table)
                .where(table.c.name == source, table.c.current == cycle)
                .values(current=None, rebaseline=True, absent=None)
            )

    def forget_absent(self, source: str) -> None:
        """Stop referring to a damaged record of absent keys: each begins to wait anew when it is missed again."""
        table = tables.sources
        with self.writing() as connection:
            connection.execute(update(table).where(table.c.name == source).values(absent=None))

    def fail_unfinished(self, source: str) -> None:
        """Record as failed what a process left running when it died; the caller holds the source's lock."""
        for entry in self.cycles(source, status=["running"]):
            result = {"source": source, "cycle": entry.cycle, "status": "failed", "error": "its process ended"}
            self.end_cycle(source, entry.cycle, "failed", result)

    @staticmethod
    def unborn(source: str) -> SourceEntry:
        """What `source` would give before the first cycle, for a dry run."""
        return SourceEntry(
            name=source, epoch=0, cycles=0, current=None, seen_at=None, floor_scn=0, floor_number=0, paused=False,
            rebaseline=False, absent=None, position=None,
        )  # fmt: skip


def write_cycle(connection: Connection, body: dict[str, Any]) -> None:
    """Insert or replace a row of `cycles`, with its hash."""
    names = [column.name for column in tables.cycles.columns if column.name != "row_hash"]
    full = {name: body.get(name) for name in names}
    full["row_hash"] = cycle_hash(full)
    where = (tables.cycles.c.source == full["source"], tables.cycles.c.cycle == full["cycle"])
    if connection.execute(update(tables.cycles).where(*where).values(**full)).rowcount == 0:
        connection.execute(insert(tables.cycles).values(**full))


def raise_floor(connection: Connection, source: str, scn: int) -> None:
    """Raise a source's floor to an SCN, which may be the one where it stands: the number tells the two apart.

    Numbers ascend, and are drawn from the clock: a stream that was restored from a backup gives none a second time.
    """
    number = max((connection.scalar(select(tables.stream.c.floors)) or 0) + 1, time.time_ns() // 1_000_000)
    connection.execute(update(tables.stream).values(floors=number))
    table = tables.sources
    connection.execute(update(table).where(table.c.name == source).values(floor_scn=scn, floor_number=number))


def _let_snapshots_go(connection: Connection, source: str, cycles: Sequence[int]) -> None:
    table = tables.cycles
    rows = connection.execute(select(table).where(table.c.source == source, table.c.cycle.in_(cycles)))
    for row in rows.all():
        write_cycle(connection, dict(row._mapping) | {"staged": None})
    _forget(connection, source)


def _forget(connection: Connection, source: str) -> None:
    table, whole = tables.cycles, tables.cycles.c.staged.is_not(None)
    committed = (table.c.source == source, table.c.status == "committed")
    oldest_kept = connection.scalar(select(func.min(table.c.cycle)).where(*committed, whole))
    if oldest_kept is None:
        return
    last = connection.scalar(select(func.max(table.c.cycle)).where(*committed, table.c.cycle < oldest_kept))
    oldest_scn = connection.scalar(select(func.min(tables.windows.c.first_scn)))
    if last is not None:
        gone = true() if oldest_scn is None else table.c.scn_last < oldest_scn
        connection.execute(table.delete().where(*committed, table.c.cycle < last, gone))
