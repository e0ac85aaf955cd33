"""Read events since an SCN, from disk: the catalog says which segments, a segment is verified before it is served.

Read order: windows and segments from the catalog, then the files. Invariant: batches come in SCN order, and every SCN
above `since` and up to `until` of the chosen sources is in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from differ.catalog import Catalog, SegmentEntry
from differ.catalog.entries import Staged, to_moment
from differ.errors import CorruptionError, NotKeptError
from differ.formats.batch import EventBatch
from differ.model import Window
from differ.records.arrow import schema_from_arrow
from differ.records.types import Schema
from differ.records.views import fixed_values
from differ.relay.batches import Batches
from differ.storage import verify
from differ.storage.files import CHECK_HINT
from differ.storage.ipc import record_batches

PAGE_SEGMENTS = 256


class EventReader:
    """Reads a project's segments; `state` is the folder that their paths start from."""

    def __init__(self, catalog: Catalog, state: Path) -> None:
        self._catalog, self._state = catalog, state
        self._batches = Batches(catalog)

    def batches(self, since: int = 0, until: int | None = None, *, sources: Sequence[str] = ()) -> Iterator[EventBatch]:
        """Events above `since` and up to `until` (None: the head at the call), ascending by SCN.

        Cost: three catalog queries for 256 segments; a segment is hashed once, then mapped. Raises CorruptionError, and
        NotKeptError where retention let go of what was not read yet.
        """
        stream = self._catalog.stream()
        end = stream.head_scn if until is None else min(until, stream.head_scn)
        while since < end:
            page = self._catalog.segments(since, end, sources=sources, limit=PAGE_SEGMENTS)
            # Asked after the page: what went before it was read is missing from it without a trace.
            self._check_kept(since)
            if not page:
                return
            last = page[-1].last_scn
            windows = {w.first: Window(first=w.first, last=w.last) for w in self._catalog.windows(since, last)}
            for entry in page:
                try:
                    yield from self._segment(entry, windows, stream.stream_id, since, end)
                except CorruptionError:
                    self._check_kept(entry.first_scn - 1)  # What is gone because it was let go is not damaged.
                    raise
            since = last

    def _segment(
        self, entry: SegmentEntry, windows: dict[int, Window], stream_id: str, since: int, until: int
    ) -> Iterator[EventBatch]:
        what = f"events {entry.first_scn}..{entry.last_scn} of {entry.source}"
        if entry.window_first not in windows:
            raise CorruptionError(f"read {what}: the catalog has no window {entry.window_first}", hint=CHECK_HINT)
        for events in record_batches(verify(self._state, entry.file, what), what):
            batch = self._batches.of(entry, windows[entry.window_first], stream_id, events)
            chosen = _within(batch, since, until)
            if len(chosen):
                yield chosen

    def _check_kept(self, since: int) -> None:
        """Raise NotKeptError when retention let go of an event above `since`."""
        oldest = self._catalog.oldest_scn()
        if since < oldest - 1:
            raise NotKeptError(
                f"read events since SCN {since}: retention overtook the reader",
                hint=f"the oldest that is kept is SCN {oldest}",
            )


def staged_batches(state: Path, source: str, cycle: int, staged: Staged) -> list[EventBatch]:
    """The events that a cycle staged and nobody committed, numbered from 1, as a dry run shows them."""
    batches: list[EventBatch] = []
    first = 1
    for segment in staged.segments:
        what = f"staged events of {source}"
        for events in record_batches(verify(state, segment.file, what), what):
            before = _before_schema(events) if segment.has_before_schema else staged.schema
            batches.append(
                EventBatch(
                    stream="",
                    source=source,
                    cycle=cycle,
                    window=Window(first=1, last=staged.events),
                    first_scn=first,
                    schema_id=0,
                    schema=staged.schema,
                    before_schema=before,
                    seen_unchanged_at=None,
                    detected_at=to_moment(staged.detected_at),
                    baseline=staged.baseline,
                    events=events,
                )
            )
        first += segment.file.rows
    return batches


def _before_schema(events: pa.RecordBatch) -> Schema:
    fields = list(events.schema.field("before").type)
    keys = [field.name for field in events.schema.field("key").type]
    return schema_from_arrow(pa.schema(fields)).with_key(keys)


def _within(batch: EventBatch, since: int, until: int) -> EventBatch:
    low, high = since + 1 - batch.first_scn, until - batch.first_scn
    ordinals = fixed_values(batch.events.column("ordinal"))
    if len(ordinals) and low <= ordinals[0] and ordinals[-1] <= high:
        return batch
    start, stop = np.searchsorted(ordinals, [max(low, 0), max(high + 1, 0)])
    return batch.slice(int(start), int(stop - start))
