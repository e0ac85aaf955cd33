"""Key ranges that a scan need not read: their sums kept beside the state, and the rows of the state that lie in them.

The sums are an Arrow file of id, count and sum, by ascending id; its metadata hold what they were made by. They belong
to one state: that of the cycle they were staged with, and of its unchanged successors.

Invariant: a row counts as unread only where the ranges that were not read hold, by the sums, just as many rows as the
state has there. So sums of another state, or a row that a cycle lost, lead to a full scan and to no wrong event.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from differ.errors import CorruptionError
from differ.iterators.ranges import Ids, RangeSums
from differ.records.views import fixed_values
from differ.snapshots.bits import Mask
from differ.snapshots.snapshot import Snapshot
from differ.storage import StoredFile, verify
from differ.storage.files import CHECK_HINT
from differ.storage.ipc import IpcWriter, open_ipc

_SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("count", pa.int64()), pa.field("sum", pa.uint64())])


def write_sums(sums: RangeSums, path: Path, root: Path) -> StoredFile:
    """Keep the sums durably; `root` is what the record's path starts from."""
    schema = _SCHEMA.with_metadata({"basis": sums.basis, "shift": str(sums.shift)})
    with IpcWriter(path, schema) as writer:
        columns = [pa.array(values) for values in (sums.ids, sums.counts, sums.sums)]
        writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
        return writer.finish(root)


def read_sums(root: Path, file: StoredFile, source: str) -> RangeSums:
    """The kept sums. Raises CorruptionError where the file is not what was written."""
    what = f"range sums of {source}"
    path = verify(root, file, what)
    reader = open_ipc(path, what)
    metadata = reader.schema.metadata or {}
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    kept = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=_SCHEMA)
    try:
        ids, counts, sums = (fixed_values(kept.column(name)) for name in ("id", "count", "sum"))
        return RangeSums(
            basis=metadata[b"basis"].decode(), shift=int(metadata[b"shift"]), ids=ids, counts=counts, sums=sums
        )
    except (KeyError, ValueError) as error:
        raise CorruptionError(f"read {what}: {path}: {error!r}", hint=CHECK_HINT) from error


class KeyedState:
    """The rows of a state by the range of their key. Making one opens the index and verifies the parts, which needs no
    sums: the server is asked for them meanwhile.

    Memory: a byte a row.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._key = snapshot.schema.key[0]
        self._spans = snapshot.parts.spans(self._key)
        alive = snapshot.index.live(snapshot.manifest.part_rows)
        self._alive: Mask = np.ones(snapshot.manifest.part_rows, dtype=bool) if alive is None else alive

    def unread(self, sums: RangeSums, dirty: Ids) -> Mask | None:
        """By location: whether the row is alive and lies in none of the `dirty` ranges, of the width that `sums` have.

        None where the state has more or fewer such rows than the sums say. Cost: reads the key column of the row groups
        whose least and greatest key are around a dirty range.
        """
        clean = self._alive.copy()
        for span in self._spans:
            if not len(dirty) or (span.values is not None and _none_within(dirty, span.values, sums.shift)):
                continue
            here = slice(span.first, span.first + span.rows)
            if clean[here].any():
                keys = self._snapshot.parts.group_at(span.first, columns=[self._key]).column(self._key)
                clean[here] &= ~_among(fixed_values(keys.cast(pa.int64())) >> sums.shift, dirty)
        return clean if int(np.count_nonzero(clean)) == sums.rows - sums.count(dirty) else None


def _none_within(dirty: Ids, values: tuple[int, int], shift: int) -> bool:
    """Whether no dirty range lies between these two keys."""
    return bool(np.searchsorted(dirty, values[0] >> shift) == np.searchsorted(dirty, values[1] >> shift, side="right"))


def _among(ids: Ids, dirty: Ids) -> Mask:
    at = np.searchsorted(dirty, ids)
    at[at == len(dirty)] = 0
    found: Mask = dirty[at] == ids
    return found
