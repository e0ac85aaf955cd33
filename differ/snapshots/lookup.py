"""Find one key in a snapshot: its row now, or nothing. Reads the key columns of all live rows, then one row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from differ.formats.keys import Key
from differ.records.keytext import key_texts
from differ.snapshots.snapshot import Snapshot


def find(snapshot: Snapshot, key: Key) -> pa.RecordBatch | None:
    """The row of this key as a batch of one, or None where no live row has it. O(rows) time, one row group of memory.

    A text that may mean several keys of a json column gives all their rows.
    """
    wanted = pa.array(sorted(key.texts), type=pa.string())
    found = []
    for locations, batch in snapshot.located(columns=snapshot.schema.key):
        mask = pc.is_in(key_texts(batch, snapshot.schema), value_set=wanted)
        found.append(locations[np.asarray(mask)])
    rows = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
    return snapshot.take(rows) if len(rows) else None
