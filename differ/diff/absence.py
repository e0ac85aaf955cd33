"""Absence is not always a delete: keys that a scan without one consistent state missed once wait for a second scan.

Such a scan may skip rows that move while it reads. A delete is then only emitted when the key was absent in two scans
in a row; until that the row stays in the state. What waits is an Arrow file of key hashes in the order of the
index, which is looked up like one.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from differ.records.fingerprints import Fingerprints
from differ.snapshots.index import ABSENT, Index, Positions
from differ.storage import StoredFile, verify
from differ.storage.ipc import IpcWriter, open_ipc

_SCHEMA = pa.schema([pa.field("key_hi", pa.uint64()), pa.field("key_lo", pa.uint64())])


def missed_before(index: Index, absent: Positions, root: Path, file: StoredFile | None, source: str) -> Positions:
    """Those of the absent positions whose keys were absent at the scan before, too."""
    if file is None or not len(absent):
        return absent[:0]
    what = f"absent keys of {source}"
    reader = open_ipc(verify(root, file, what), what)
    known = Index(reader.schema, [reader.get_batch(number) for number in range(reader.num_record_batches)], bits=0)
    high, low = index.gather(absent, "key_hi"), index.gather(absent, "key_lo")
    again: Positions = absent[known.probe(Fingerprints(high, low, high, low)) != ABSENT]
    return again


def write_absent(index: Index, waiting: Positions, path: Path, root: Path) -> StoredFile | None:
    """Keep the keys at these ascending positions as absent once, in the order of the index; None for none."""
    if not len(waiting):
        return None
    with IpcWriter(path, _SCHEMA) as writer:
        columns = [pa.array(index.gather(waiting, name)) for name in ("key_hi", "key_lo")]
        writer.write(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
        return writer.finish(root)
