"""Reading the catalog: what is committed, held, kept and seen. Every method is one short transaction.

All methods may be called from any thread.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from differ.catalog import tables
from differ.catalog.engine import catalog_errors
from differ.catalog.entries import CycleEntry, SegmentEntry, SourceEntry, StreamEntry, WindowEntry, to_moment
from differ.catalog.standing import Behind, Standing, read_behind, read_standing
from differ.catalog.totals import SourceTotals, read_totals
from differ.errors import CorruptionError, UsageError
from differ.records.types import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaEntry:
    """One version of a source's schema; `changes` says in sentences what became different."""

    id: int
    source: str
    version: int
    created_at: datetime
    changes: tuple[str, ...]
    schema: Schema


class CatalogReader:
    """The reading half of the catalog."""

    engine: Engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A short read transaction."""
        with catalog_errors(self.engine), self.engine.begin() as connection:
            yield connection

    def stream(self) -> StreamEntry:
        """Stream id, head SCN and chain."""
        with self.reading() as connection:
            return read_stream(connection)

    def standing(self, scn: int) -> Standing:
        """All that checks a cursor at this SCN, in one transaction. Cost: three look-ups."""
        with self.reading() as connection:
            return read_standing(connection, read_stream(connection), scn)

    def behind(self, scn: int, sources: Collection[str] = ()) -> Behind:
        """How many kept events of these sources (empty: all) come after an SCN, and since when the first waits.

        Cost: one index row for each segment above the SCN.
        """
        with self.reading() as connection:
            return read_behind(connection, scn, sources)

    def source(self, name: str) -> SourceEntry | None:
        """Where a source stands, or None before its first cycle."""
        with self.reading() as connection:
            row = connection.execute(select(tables.sources).where(tables.sources.c.name == name)).first()
            return SourceEntry.from_row(row) if row else None

    def sources(self) -> list[SourceEntry]:
        """All sources that ever had a cycle, by name."""
        with self.reading() as connection:
            rows = connection.execute(select(tables.sources).order_by(tables.sources.c.name))
            return [SourceEntry.from_row(row) for row in rows]

    def cycle(self, source: str, cycle: int) -> CycleEntry:
        """One cycle; raises UsageError when there is none of that number."""
        table = tables.cycles
        with self.reading() as connection:
            row = connection.execute(select(table).where(table.c.source == source, table.c.cycle == cycle)).first()
        if row is None:
            raise UsageError(f"read cycle {source}/{cycle}: there is none", hint="see 'differ status'")
        return CycleEntry.from_row(row)

    def cycles(
        self,
        source: str | None = None,
        *,
        status: Sequence[str] = (),
        commit_id: str | None = None,
        whole: bool = False,
        limit: int | None = None,
        skip: int | None = None,
    ) -> list[CycleEntry]:
        """Cycles, newest first, of one source or all, with one of these statuses, of one commit.

        whole: only those whose files are kept. skip: without the newest so many. Cost: one row each; the committed ones
        are as many as there ever were.
        """
        table = tables.cycles
        query = select(table).order_by(table.c.cycle.desc(), table.c.source).limit(limit).offset(skip)
        if source is not None:
            query = query.where(table.c.source == source)
        if status:
            query = query.where(table.c.status.in_(status))
        if commit_id is not None:
            query = query.where(table.c.commit_id == commit_id)
        if whole:
            query = query.where(table.c.staged.is_not(None))
        with self.reading() as connection:
            return [CycleEntry.from_row(row) for row in connection.execute(query)]

    def held(self, source: str) -> CycleEntry | None:
        """The cycle of the source that a guard holds, if there is one."""
        found = self.cycles(source, status=["held"], limit=1)
        return found[0] if found else None

    def snapshot_cycle(self, source: str, as_of: int | None = None) -> CycleEntry | None:
        """The committed cycle whose snapshot is the state at SCN `as_of` (None: now), or None before the first."""
        table = tables.cycles
        query = select(table).where(table.c.source == source, table.c.status == "committed")
        if as_of is not None:
            query = query.where(table.c.scn_last <= as_of)
        with self.reading() as connection:
            row = connection.execute(query.order_by(table.c.cycle.desc()).limit(1)).first()
        return CycleEntry.from_row(row) if row else None

    def windows(self, since: int = 0, until: int | None = None, *, limit: int | None = None) -> list[WindowEntry]:
        """Windows that hold an SCN above `since` and up to `until`, ascending."""
        table = tables.windows
        query = select(table).where(table.c.last_scn > since).order_by(table.c.first_scn).limit(limit)
        if until is not None:
            query = query.where(table.c.first_scn <= until)
        with self.reading() as connection:
            return [WindowEntry.from_row(row) for row in connection.execute(query)]

    def segments(
        self, since: int = 0, until: int | None = None, *, sources: Sequence[str] = (), limit: int | None = None
    ) -> list[SegmentEntry]:
        """Segments that hold an SCN above `since` and up to `until`, ascending."""
        table = tables.segments
        query = (
            select(table).where(table.c.first_scn + table.c.count > since + 1).order_by(table.c.first_scn).limit(limit)
        )
        if until is not None:
            query = query.where(table.c.first_scn <= until)
        if sources:
            query = query.where(table.c.source.in_(sources))
        with self.reading() as connection:
            return [SegmentEntry.from_row(row) for row in connection.execute(query)]

    def segment_bytes(self) -> int:
        """The bytes of all segments that are kept, together."""
        with self.reading() as connection:
            return int(connection.scalar(select(func.sum(tables.segments.c.bytes))) or 0)

    def window_of(self, scn: int) -> WindowEntry | None:
        """The window that holds an SCN."""
        found = self.windows(scn - 1, scn, limit=1)
        return found[0] if found else None

    def schema(self, schema_id: int) -> SchemaEntry:
        """A schema version by its id; raises CorruptionError when an event names one that is not there."""
        with self.reading() as connection:
            row = connection.execute(select(tables.schemas).where(tables.schemas.c.id == schema_id)).first()
        if row is None:
            raise CorruptionError(f"read schema {schema_id}: the catalog has none", hint="run 'differ check'")
        return _schema_entry(row)

    def schemas(self, source: str | None = None) -> list[SchemaEntry]:
        """Every version of a source's schema, or of all, oldest first."""
        query = select(tables.schemas).order_by(tables.schemas.c.id)
        if source is not None:
            query = query.where(tables.schemas.c.source == source)
        with self.reading() as connection:
            return [_schema_entry(row) for row in connection.execute(query)]

    def totals(self) -> list[SourceTotals]:
        """What every source ever did, by name; see `totals.py`. Cost: some 20 rows a source."""
        with self.reading() as connection:
            return read_totals(connection)

    def kept_bytes(self) -> int:
        """The bytes of all segments that are kept."""
        with self.reading() as connection:
            first = connection.scalar(select(func.min(tables.windows.c.start_bytes)))
            return 0 if first is None else read_stream(connection).segment_bytes - int(first)

    def oldest_scn(self) -> int:
        """The oldest SCN whose event can still be read; head + 1 when there is none."""
        return self.stream().oldest_scn


def read_stream(connection: Connection) -> StreamEntry:
    """The stream's row, inside a transaction; raises CorruptionError when it is gone."""
    row = connection.execute(select(tables.stream)).first()
    if row is None:
        raise CorruptionError("read catalog: the stream's row is gone", hint="restore the catalog from a backup")
    return StreamEntry.from_row(row)


def _schema_entry(row: Any) -> SchemaEntry:
    return SchemaEntry(
        id=row.id,
        source=row.source,
        version=row.version,
        created_at=to_moment(row.created_at),
        changes=tuple(json.loads(row.changes)),
        schema=Schema.from_json(json.loads(row.body)),
    )
