"""The rows of a snapshot as events, by location: what a bootstrap hands out, a page at a time, resumable at each page.

    location   0 ........ start ............ end ........ part_rows
    rows          given     looked through     still to come

Every row is an event of op `insert` with ordinal 0, so that its SCN is the one at which the snapshot was pinned; a key
comes once. Rows are numbered through the parts of a manifest, which never change, so a location means the same for as
long as the snapshot is kept, and a page that was begun again gives the same rows.

Many consumers bootstrap at once, and some of them stop in the middle for an hour. So a row group that is decoded
belongs to no reader: groups live in one cache of bounded size, and a reader that waits holds a location, no more.

Source: Databus' bootstrap snapshot reads by row id; the keyset paging of log-structured stores.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from differ.formats.batch import EventBatch, segment_schema
from differ.formats.partitions import Partitions
from differ.model import OPS, Window
from differ.records.keytext import key_texts, partition_hashes
from differ.records.types import Schema
from differ.snapshots.parts import PartReader
from differ.snapshots.snapshot import Snapshot

PAGE_ROWS = 1 << 14
PAGE_BYTES = 1 << 20
CACHE_BYTES = 256 << 20
_BLOCK = 1 << 17
_ANY = 1 << 62
_NUMBERS = count(1)


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


class RowGroups:
    """Decoded row groups for all readers of pages, the least recently used let go first; the newest stays, whatever its
    size. May be used from any thread."""

    def __init__(self, bytes_max: int = CACHE_BYTES) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._found: OrderedDict[tuple[int, int], pa.RecordBatch] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, snapshot: int, first: int) -> pa.RecordBatch | None:
        """The group of a snapshot that begins at a location, if it is still here."""
        with self._lock:
            if (snapshot, first) in self._found:
                self._found.move_to_end((snapshot, first))
            return self._found.get((snapshot, first))

    def put(self, snapshot: int, first: int, group: pa.RecordBatch) -> None:
        """Keep a group for whoever comes next."""
        with self._lock:
            if (snapshot, first) in self._found:
                return
            self._found[snapshot, first] = group
            self._bytes += group.nbytes
            while self._bytes > self._bytes_max and len(self._found) > 1:
                self._bytes -= self._found.popitem(last=False)[1].nbytes


class SnapshotPages:
    """The live rows of one snapshot by location. May be shared and used from any thread.

    It keeps which rows are alive (one bit a row) and which parts were verified, and no file open.
    """

    def __init__(self, snapshot: Snapshot, groups: RowGroups) -> None:
        """Reads the index once when the snapshot has dead rows; raises CorruptionError, NotKeptError."""
        self._snapshot, self._groups = snapshot, groups
        self._number = next(_NUMBERS)
        self._verified: dict[int, Path] = {}
        self._spans: list[tuple[int, int]] = []
        rows = snapshot.manifest.part_rows
        live = None
        if snapshot.rows != rows:
            with snapshot.reading():
                # Opened here and let go at once: a snapshot that is shared for long need not hold its index.
                live = snapshot.open_index().live(rows)
        self._alive = None if live is None else np.packbits(live)
        self.end = rows if live is None else _after_last(live)
        """The location after the last live row."""

    def after(self, start: int, limit: int | None) -> int:
        """The location after the next `limit` live rows from `start` on (None: all that follow)."""
        if limit is None:
            return self.end
        if self._alive is None:
            return min(start + limit, self.end)
        wanted = limit
        for first in range(start, self.end if wanted else start, _BLOCK):
            found = np.flatnonzero(self._mask(first, min(first + _BLOCK, self.end)))
            if len(found) >= wanted:
                return first + int(found[wanted - 1]) + 1
            wanted -= len(found)
        return self.end if limit else start

    def read(
        self,
        start: int,
        end: int,
        pinned: Pinned,
        partitions: Partitions | None = None,
        *,
        page_bytes: int = PAGE_BYTES,
    ) -> Iterator[Page]:
        """The live rows at start..end-1 that are in the partitions, as pages of bounded size; none of them is empty.

        page_bytes: of the rows' Arrow memory, about; a page holds PAGE_ROWS at most. Suspended at a `yield`, it holds
        no row. Raises CorruptionError for damaged files, NotKeptError where the snapshot is no longer kept.
        """
        while start < end:
            found, start = self._cut(start, end, pinned, partitions, page_bytes)
            if found:
                yield found.pop()

    def _cut(
        self, start: int, end: int, pinned: Pinned, partitions: Partitions | None, page_bytes: int
    ) -> tuple[list[Page], int]:
        """The page that begins at `start`, if it holds a row, and the location to go on at."""
        first, group = self._group(start)
        step = min(PAGE_ROWS, group.num_rows * page_bytes / max(1, group.nbytes))
        if partitions is not None:
            step *= partitions.count / len(partitions.chosen)
        stop = min(start + max(1, int(step)), first + group.num_rows, end)
        rows = group.slice(start - first, stop - start)
        if self._alive is not None:
            rows = rows.filter(pa.array(self._mask(start, stop)))
        batch = row_events(rows, self._snapshot.schema, pinned)
        if partitions is not None:
            batch = batch.take(pa.array(partitions.mask(batch)))
        return ([Page(batch=batch, end=stop)] if len(batch) else []), stop

    def _group(self, location: int) -> tuple[int, pa.RecordBatch]:
        """The row group that holds a location, with the location of its first row."""
        place = bisect_right(self._spans, (location, _ANY)) - 1
        if place >= 0 and location < self._spans[place][1]:
            found = self._groups.get(self._number, self._spans[place][0])
            if found is not None:
                return self._spans[place][0], found
        manifest = self._snapshot.manifest
        what = f"snapshot {manifest.source}/{manifest.cycle}"
        schema = self._snapshot.schema.arrow
        reader = PartReader(self._snapshot.root, manifest.parts, schema, what, verified=self._verified)
        with self._snapshot.reading(), closing(reader):
            first, group = next(reader.groups(start=location))
        span = (first, first + group.num_rows)
        if span not in self._spans:
            self._spans = sorted({*self._spans, span})
        self._groups.put(self._number, first, group)
        return first, group

    def _mask(self, first: int, stop: int) -> npt.NDArray[np.bool_]:
        assert self._alive is not None  # noqa: S101
        bits = np.unpackbits(self._alive[first // 8 : (stop + 7) // 8])
        return bits[first % 8 : first % 8 + stop - first].astype(bool)


def row_events(rows: pa.RecordBatch, schema: Schema, pinned: Pinned) -> EventBatch:
    """Rows in storage types as events of op insert, all with the pinned SCN; the columns are not copied."""
    length = rows.num_rows
    keys = rows.select(list(schema.key))
    types = segment_schema(schema, schema)
    arrays = [
        pa.array(np.zeros(length, dtype=np.uint32)),
        pa.array(np.full(length, OPS.index("insert"), dtype=np.uint8)),
        pa.StructArray.from_arrays(keys.columns, fields=list(types.field("key").type)),
        pa.nulls(length, type=types.field("before").type),
        pa.StructArray.from_arrays(rows.columns, fields=list(types.field("after").type)),
        pa.ListArray.from_arrays(pa.array(np.zeros(length + 1, dtype=np.int32)), pa.array([], type=pa.string())),
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
