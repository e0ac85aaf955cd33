"""Which keys that a scan did not give are deletes, and which wait to be confirmed.

    one consistent state, or `confirm_deletes: never`   absence is the delete
    the iterator can look keys up                       what it does not find is the delete; what it finds is compared
    else                                                a delete when absent in two scans in a row; until then it waits

A row waits in the state as it was last emitted; where no state can hold it any more (its key or a value has no form
under the new schema) its absence counts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from differ.cycle.ground import Ground
from differ.diff.absence import missed_before
from differ.diff.compare import Comparison
from differ.diff.encoding import Encoding
from differ.records.convert import convert
from differ.records.values import python_column
from differ.snapshots.index import Index
from differ.snapshots.run import Positions

LOOKUP_KEYS = 1_000
FORM_ROWS = 1 << 16
NOTHING: Positions = np.zeros(0, dtype=np.int64)

LookUp = Callable[[Sequence[dict[str, Any]]], Sequence[pa.RecordBatch] | None]


@dataclass(frozen=True, slots=True)
class Absence:
    """Index positions: those that are deletes, and those that wait for the next scan."""

    deleted: Positions
    waiting: Positions


def settle_absence(
    ground: Ground,
    comparison: Comparison,
    encoding: Encoding,
    *,
    consistent: bool,
    look_up: LookUp,
    take: Callable[[pa.RecordBatch], None],
) -> Absence:
    """Decide on every key that the comparison has not seen.

    consistent: whether the scan read one consistent state. look_up: the records of some keys that exist now, None where
    the iterator cannot say. take: compares and keeps a batch like those of the scan.
    """
    absent, index = comparison.absent(), comparison.index
    if not len(absent) or index is None or not ground.deletes_wait(consistent) or not ground.same_key_layout(encoding):
        return Absence(absent, NOTHING)
    if _looked_up(ground, index, absent, look_up, take):
        return Absence(comparison.absent(), NOTHING)
    again = missed_before(index, absent, ground.state, ground.waiting_file, ground.source)
    deleted = np.union1d(again, _without_form(ground, index, np.setdiff1d(absent, again), encoding))
    return Absence(deleted, np.setdiff1d(absent, deleted))


def _looked_up(
    ground: Ground, index: Index, absent: Positions, look_up: LookUp, take: Callable[[pa.RecordBatch], None]
) -> bool:
    """Ask the iterator for the absent keys; what it still finds is compared like any row. False: it cannot."""
    assert ground.previous is not None  # noqa: S101
    locations = np.sort(index.gather(absent, "loc").astype(np.int64))
    for start in range(0, len(locations), LOOKUP_KEYS):
        found = look_up(_keys(ground, ground.previous.take(locations[start : start + LOOKUP_KEYS])))
        if found is None:
            return False
        for batch in found:
            take(batch)
    return True


def _keys(ground: Ground, rows: pa.RecordBatch) -> list[dict[str, Any]]:
    assert ground.previous is not None  # noqa: S101
    schema = ground.previous.schema
    columns = [python_column(rows.column(name), schema.types[name]) for name in schema.key]
    return [dict(zip(schema.key, values, strict=True)) for values in zip(*columns, strict=True)]


def _without_form(ground: Ground, index: Index, waiting: Positions, encoding: Encoding) -> Positions:
    """Those of the waiting rows that have no exact form under the new schema."""
    assert ground.previous is not None  # noqa: S101
    previous = ground.previous
    if previous.schema == encoding.schema:
        return waiting[:0]
    locations = index.gather(waiting, "loc").astype(np.int64)
    order = np.argsort(locations)
    inexact = np.zeros(len(waiting), dtype=bool)
    for start in range(0, len(order), FORM_ROWS):
        chunk = order[start : start + FORM_ROWS]
        inexact[chunk] = convert(previous.take(locations[chunk]), previous.schema, encoding.schema)[1]
    return waiting[inexact]
