"""Absence is not always a delete: keys that a scan without one consistent state missed once wait for a second scan.

Such a scan may skip rows that move while it reads. A delete is then only emitted when the key was absent in two scans
in a row; until that the row stays in the state. What waits is a small Arrow file of key hashes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from differ.snapshots.entries import column
from differ.snapshots.index import Index, Positions
from differ.storage import StoredFile, verify
from differ.storage.ipc import IpcWriter, open_ipc

_SCHEMA = pa.schema([pa.field("key_hi", pa.uint64()), pa.field("key_lo", pa.uint64())])


def missed_before(index: Index, absent: Positions, root: Path, file: StoredFile | None, source: str) -> Positions:
    """Those of the absent positions whose keys were absent at the scan before, too."""
    if file is None or not len(absent):
        return absent[:0]
    reader = open_ipc(verify(root, file, f"absent keys of {source}"), f"absent keys of {source}")
    known: set[tuple[int, int]] = set()
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        known.update(zip(column(batch, "key_hi").tolist(), column(batch, "key_lo").tolist(), strict=True))
    high, low = index.gather(absent, "key_hi").tolist(), index.gather(absent, "key_lo").tolist()
    again: Positions = absent[np.array([pair in known for pair in zip(high, low, strict=True)], dtype=bool)]
    return again


def write_absent(index: Index, waiting: Positions, path: Path, root: Path) -> StoredFile | None:
    """Keep the keys at these positions as absent once; None when there are none."""
    if not len(waiting):
        return None
    with IpcWriter(path, _SCHEMA) as writer:
        columns = [pa.array(index.gather(waiting, name)) for name in ("key_hi", "key_lo")]
        writer.write(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
        return writer.finish(root)
