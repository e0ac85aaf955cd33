"""Net changes: what the events between two SCNs come to for each key, whatever happened in between.

    insert .. update   insert          insert .. delete   nothing
    update .. update   update *        update .. delete   delete
    delete .. insert   update *        (* nothing, where the values are the same again)

Only columns that some event named as changed are looked at, so ignored and tolerated ones stay quiet; after
a delete and an insert all columns are. A column that one side lacks counts as null there.

Invariant: applied to the state before, the net changes give the state after.
Source: log compaction, and the delta of a Hollow state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from differ.formats.batch import EventBatch
from differ.formats.images import Row, json_images, rows
from differ.model import OPS, Op
from differ.records.keytext import key_texts
from differ.records.types import LogicalType


@dataclass(slots=True)
class _Track:
    """What is known of one key: the image before its first event, the image after its last."""

    source: str
    key: Row
    before: Row | None
    before_exact: Row | None
    first_scn: int
    cycle: int
    after: Row | None = None
    after_exact: Row | None = None
    last_scn: int = 0
    events: int = 0
    replaced: bool = False
    changed: dict[str, None] = field(default_factory=dict)


def net_changes(batches: Iterable[EventBatch]) -> Iterator[dict[str, Any]]:
    """Yield one object for each key whose state differs at the end, in the order in which the keys first
    changed.

    batches: events in SCN order, of one or several sources. An object has source, op, key, before, after
    and changed as an event has, `scn` (of the key's last event), `first_scn`, and `events` (how many there
    were). Memory is two rows for each distinct key that changed.
    """
    tracks: dict[tuple[str, ...], _Track] = {}
    for batch in batches:
        _follow(batch, tracks)
    for track in tracks.values():
        change = _net(track)
        if change is not None:
            yield change


def _follow(batch: EventBatch, tracks: dict[tuple[str, ...], _Track]) -> None:
    keys = _identities(batch)
    changed = batch.events.column("changed").to_pylist()
    codes = batch.events.column("op").to_pylist()
    exact = zip(
        rows(batch.images("before"), batch.before_schema, _exact_column),
        rows(batch.images("after"), batch.schema, _exact_column),
        strict=True,
    )
    events = zip(keys, batch.scns, codes, changed, json_images(batch), exact, strict=True)
    for identity, scn, code, names, (key, before, after), (before_exact, after_exact) in events:
        track = tracks.get(identity)
        if track is None:
            track = _Track(batch.source, key, before, before_exact, scn, batch.cycle)
            tracks[identity] = track
        track.after, track.after_exact = after, after_exact
        track.last_scn = scn
        track.events += 1
        track.replaced |= OPS[code] != "update"
        track.changed.update(dict.fromkeys(names))


def _identities(batch: EventBatch) -> Iterator[tuple[str, ...]]:
    """What tells keys apart: source and key text."""
    return ((batch.source, text) for text in key_texts(batch.images("key"), batch.key_schema).to_pylist())


def _exact_column(array: pa.Array, type_: LogicalType) -> list[Any]:
    """Storage values: what JSON shows alike (an int32 and an int64 in a document) stays different here."""
    if type_.kind in ("time", "duration", "timestamp"):
        array = array.cast(pa.int64())
    values: list[Any] = array.to_pylist()
    return values


def _net(track: _Track) -> dict[str, Any] | None:
    op: Op
    changed: list[str] = []
    if track.before is None and track.after is None:
        return None
    if track.before is None:
        op = "insert"
    elif track.after is None:
        op = "delete"
    else:
        op, changed = "update", _changed(track)
        if not changed:
            return None
    return {
        "source": track.source,
        "scn": track.last_scn,
        "first_scn": track.first_scn,
        "events": track.events,
        "op": op,
        "key": track.key,
        "before": track.before,
        "after": track.after,
        "changed": changed,
    }


def _changed(track: _Track) -> list[str]:
    before, after = track.before_exact or {}, track.after_exact or {}
    names = [*after, *(name for name in before if name not in after)]
    if not track.replaced:
        names = [name for name in names if name in track.changed]
    return [name for name in names if not _same(before.get(name), after.get(name))]


def _same(old: Any, new: Any) -> bool:
    """Equality of storage values, in which NaN equals NaN."""
    if isinstance(old, float) and isinstance(new, float):
        return old == new or (math.isnan(old) and math.isnan(new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new)
