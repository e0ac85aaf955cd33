"""The rows of a snapshot as events, by location: what a bootstrap hands out, a page at a time, resumable at each page.

    location   0 ........ start ............ end ........ part_rows
    rows          given     looked through     still to come

Every row is an event of op `insert` with ordinal 0, so that its SCN is the one at which the snapshot was pinned; a key
comes once. Rows are numbered through the parts of a manifest, which never change, so a location means the same for as
long as the snapshot is kept, and a page that was begun again gives the same rows. Memory is one row group.

Source: Databus' bootstrap snapshot reads by row id; the keyset paging of log-structured stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from differ.formats.batch import EventBatch, segment_schema
from differ.formats.partitions import Partitions
from differ.model import OPS, Window
from differ.records.keytext import key_texts, partition_hashes
from differ.records.types import Schema
from differ.snapshots.index import open_index
from differ.snapshots.parts import PartReader
from differ.snapshots.snapshot import Snapshot

PAGE_ROWS = 1 << 14
PAGE_BYTES = 1 << 20
_BLOCK = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What the events of a pinned snapshot say of themselves, besides their rows."""

    stream: str
    scn: int
    source: str
    cycle: int
    schema_id: int
    detected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows as events; `end` is the location to go on at, after the last row that was looked at."""

    batch: EventBatch
    end: int


class SnapshotPages:
    """The live rows of one snapshot by location.

    It may be shared: each `read` has files of its own, and only which rows are alive (one bit a row) and which parts
    were verified is kept between them.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Reads the index once when the snapshot has dead rows; raises CorruptionError, NotKeptError."""
        self._snapshot = snapshot
        self._verified: dict[int, Path] = {}
        rows = snapshot.manifest.part_rows
        live = None
        if snapshot.rows != rows:
            with snapshot.reading():
                # Opened here and let go at once: a snapshot that is shared for long need not hold its index.
                live = open_index(snapshot.root, snapshot.manifest.index, snapshot.manifest.source).live(rows)
        self._alive = None if live is None else np.packbits(live)
        self.end = rows if live is None else _after_last(live)
        """The location after the last live row."""

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self._snapshot.schema

    def after(self, start: int, limit: int | None) -> int:
        """The location after the next `limit` live rows from `start` on (None: all that follow)."""
        if limit is None:
            return self.end
        if self._alive is None:
            return min(start + limit, self.end)
        wanted = limit
        for first in range(start, self.end, _BLOCK):
            found = np.flatnonzero(self._mask(first, min(first + _BLOCK, self.end)))
            if len(found) >= wanted:
                return first + int(found[wanted - 1]) + 1
            wanted -= len(found)
        return self.end

    def read(self, start: int, end: int, pinned: Pinned, partitions: Partitions | None = None) -> Iterator[Page]:
        """The live rows at start..end-1 that are in the partitions, as pages of bounded size; none of them is empty.

        Raises CorruptionError for damaged files, NotKeptError where the snapshot is no longer kept.
        """
        with self._snapshot.reading():
            for first, group in self._groups(start, end):
                locations = np.arange(first, first + group.num_rows, dtype=np.int64)
                chosen = (locations >= start) & (locations < end)
                if self._alive is not None:
                    chosen &= self._mask(first, first + group.num_rows)
                rows = group if chosen.all() else group.filter(pa.array(chosen))
                yield from self._pages(rows, locations[chosen], pinned, partitions)

    def _groups(self, start: int, end: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        manifest = self._snapshot.manifest
        what = f"snapshot {manifest.source}/{manifest.cycle}"
        reader = PartReader(self._snapshot.root, manifest.parts, self.schema.arrow, what, verified=self._verified)
        try:
            if start < end:
                for first, rows in reader.groups(start=start):
                    yield first, rows
                    if first + rows.num_rows >= end:
                        return
        finally:
            reader.close()

    def _pages(
        self,
        rows: pa.RecordBatch,
        locations: npt.NDArray[np.int64],
        pinned: Pinned,
        partitions: Partitions | None,
    ) -> Iterator[Page]:
        if not rows.num_rows:
            return
        step = max(1, min(PAGE_ROWS, rows.num_rows * PAGE_BYTES // max(1, rows.nbytes)))
        for offset in range(0, rows.num_rows, step):
            part = rows.slice(offset, step)
            batch = row_events(part, self.schema, pinned)
            if partitions is not None:
                batch = batch.take(pa.array(partitions.mask(batch)))
            if len(batch):
                yield Page(batch=batch, end=int(locations[offset + part.num_rows - 1]) + 1)

    def _mask(self, first: int, stop: int) -> npt.NDArray[np.bool_]:
        assert self._alive is not None  # noqa: S101
        bits = np.unpackbits(self._alive[first // 8 : (stop + 7) // 8])
        return bits[first % 8 : first % 8 + stop - first].astype(bool)


def row_events(rows: pa.RecordBatch, schema: Schema, pinned: Pinned) -> EventBatch:
    """Rows in storage types as events of op insert, all with the pinned SCN; the columns are not copied."""
    count = rows.num_rows
    keys = rows.select(list(schema.key))
    types = segment_schema(schema, schema)
    arrays = [
        pa.array(np.zeros(count, dtype=np.uint32)),
        pa.array(np.full(count, OPS.index("insert"), dtype=np.uint8)),
        pa.StructArray.from_arrays(keys.columns, fields=list(types.field("key").type)),
        pa.nulls(count, type=types.field("before").type),
        pa.StructArray.from_arrays(rows.columns, fields=list(types.field("after").type)),
        pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, dtype=np.int32)), pa.array([], type=pa.string())),
        pa.array(partition_hashes(key_texts(keys, schema))),
    ]
    return EventBatch(
        stream=pinned.stream,
        source=pinned.source,
        cycle=pinned.cycle,
        window=Window(first=pinned.scn, last=pinned.scn),
        first_scn=pinned.scn,
        schema_id=pinned.schema_id,
        schema=schema,
        before_schema=schema,
        seen_unchanged_at=None,
        detected_at=pinned.detected_at,
        baseline=True,
        events=pa.RecordBatch.from_arrays(arrays, schema=types),
    )


def _after_last(live: npt.NDArray[np.bool_]) -> int:
    found = np.flatnonzero(live)
    return int(found[-1]) + 1 if len(found) else 0
