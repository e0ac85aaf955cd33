"""Absence is not always a delete: keys that a scan without one consistent state missed once wait for a second scan.

Such a scan may skip rows that move while it reads. A delete is then only emitted when the key was absent in two scans
in a row; until that the row stays in the state. What waits is an Arrow file of key hashes, sorted, which is looked up
like an index.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from differ.records.fingerprints import Fingerprints
from differ.records.views import fixed_values
from differ.snapshots.bits import Bits
from differ.snapshots.entries import HASHES, hash_column, sort_order
from differ.snapshots.index import Index
from differ.snapshots.run import ABSENT, Positions, Run
from differ.storage import StoredFile, verify
from differ.storage.ipc import IpcWriter, open_ipc

_SCHEMA = pa.schema([pa.field(name, pa.uint64()) for name in HASHES[:2]])
_RUN = pa.schema([pa.field("hashes", pa.binary(32))])


def missed_before(index: Index, absent: Positions, root: Path, file: StoredFile | None, source: str) -> Positions:
    """Those of the absent positions whose keys were absent at the scan before, too."""
    if file is None or not len(absent):
        return absent[:0]
    what = f"absent keys of {source}"
    reader = open_ipc(verify(root, file, what), what)
    known = pa.Table.from_batches([reader.get_batch(number) for number in range(reader.num_record_batches)])
    keys = [fixed_values(key) for key in known.combine_chunks().to_batches()[0].columns]
    # Looked up like an index: what stands for the row hash is the key hash once more.
    hashes = hash_column(Fingerprints(*keys, *keys))
    run = Run(_RUN, [pa.RecordBatch.from_arrays([hashes], schema=_RUN)], bits=0)
    high, low = index.gather(absent, "key_hi"), index.gather(absent, "key_lo")
    found = run.match(Fingerprints(high, low, high, low), None, Bits(run.size)).positions
    again: Positions = absent[found != ABSENT]
    return again


def write_absent(index: Index, waiting: Positions, path: Path, root: Path) -> StoredFile | None:
    """Keep the keys at these positions as absent once, sorted by key hash; None for none."""
    if not len(waiting):
        return None
    with IpcWriter(path, _SCHEMA) as writer:
        high, low = (index.gather(waiting, name) for name in ("key_hi", "key_lo"))
        order = sort_order(high, low)
        writer.write(pa.RecordBatch.from_arrays([pa.array(high[order]), pa.array(low[order])], schema=_SCHEMA))
        return writer.finish(root)
