"""A segment's events as a batch: what the file holds, with what the catalog says of the segment around it.

Both readers of segments use it: the one from disk (`reader`) and the one that serves clients (`parts`). Invariant: all
batches of a segment share everything but their events.
"""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa

from differ.catalog import Catalog, SegmentEntry
from differ.formats.batch import EventBatch
from differ.model import Window
from differ.records.types import Schema

SCHEMAS_MAX = 256


class Batches:
    """Makes batches and remembers the schemas that they name; may be used from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._schema = lru_cache(maxsize=SCHEMAS_MAX)(self._read_schema)

    def of(self, segment: SegmentEntry, window: Window, stream: str, events: pa.RecordBatch) -> EventBatch:
        """The batch of these rows of the segment's file. Raises CorruptionError for a schema that is not there."""
        return EventBatch(
            stream=stream,
            source=segment.source,
            cycle=segment.cycle,
            window=window,
            first_scn=segment.first_scn,
            schema_id=segment.schema_id,
            schema=self._schema(segment.schema_id),
            before_schema=self._schema(segment.before_schema_id),
            seen_unchanged_at=segment.seen_unchanged_at,
            detected_at=segment.detected_at,
            baseline=segment.baseline,
            events=events,
        )

    def _read_schema(self, schema_id: int) -> Schema:
        return self._catalog.schema(schema_id).schema
