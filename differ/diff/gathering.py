"""Changed rows put together: a batch of the scan holds a few, and writing a few costs as much as writing thousands.

The order of the rows does not change what a cycle means: locations and ordinals are given as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from differ.records.fingerprints import Fingerprints

CHUNK_ROWS = 1 << 16
CHUNK_BYTES = 16 << 20
"""Changed rows are written so many at a time, whatever the batches of the scan hold of them."""


class Gathering:
    """Rows of small batches with their hashes, put together to be written at once."""

    def __init__(self) -> None:
        self._batches: list[tuple[pa.RecordBatch, Fingerprints]] = []
        self.rows = self.bytes = 0

    def add(self, rows: pa.RecordBatch, hashes: Fingerprints) -> None:
        """Keep some rows."""
        if rows.num_rows:
            self._batches.append((rows, hashes))
            self.rows += rows.num_rows
            self.bytes += rows.nbytes

    def all(self) -> Iterator[tuple[pa.RecordBatch, Fingerprints]]:
        """All rows, as one batch but for one that alone is large enough; empties the gathering."""
        batches, self._batches = self._batches, []
        self.rows = self.bytes = 0
        small = [item for item in batches if item[0].num_rows < CHUNK_ROWS // 2]
        if small:
            hashes = [(item.key_hi, item.key_lo, item.row_hi, item.row_lo) for _, item in small]
            columns = (np.concatenate(column) for column in zip(*hashes, strict=True))
            yield pa.concat_batches([rows for rows, _ in small]), Fingerprints(*columns)
        yield from (item for item in batches if item[0].num_rows >= CHUNK_ROWS // 2)


def gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Small batches put together, up to about CHUNK_ROWS rows or CHUNK_BYTES."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield pa.concat_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.concat_batches(waiting)
