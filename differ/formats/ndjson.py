"""Change events as newline-delimited JSON: differ's own form, one object a line.

The fields and their order are public (docs/formats/events.md). JSON values depend on a column's type and
never on the value, so a reader's type for a field holds for all events of one schema.

Invariant: `json.loads` of line i equals object i, and no line holds a raw newline.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from differ.formats.batch import EventBatch
from differ.formats.images import json_images
from differ.model import OPS
from differ.records.clock import datetime_text

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def event_lines(batch: EventBatch) -> Iterator[bytes]:
    """Yield each event as one line of UTF-8 JSON that ends with a newline: that of its `event_objects`.

    What the events of a batch share is encoded once for all of them, since encoding is most of the work.
    """
    shared = _shared(batch)
    head = _encode({"stream": batch.stream})[:-1] + ',"scn":'
    middle = f',"source":{_encode(batch.source)},"op":'
    ops = [f'{middle}"{op}",' for op in OPS]
    tail = f",{_encode(shared)[1:]}\n"
    codes = batch.events.column("op").to_pylist()
    changed = batch.events.column("changed").to_pylist()
    for scn, code, names, (key, before, after) in zip(batch.scns, codes, changed, json_images(batch), strict=True):
        own = {"key": key, "before": before, "after": after, "changed": names}
        try:
            yield f"{head}{scn}{ops[code]}{_encode(own)[1:-1]}{tail}".encode()
        except UnicodeEncodeError:
            yield f"{head}{scn}{ops[code]}{_encode_ascii(own)[1:-1]}{tail}".encode()


def encode_line(value: Any) -> bytes:
    """A JSON value as one line of UTF-8, without spaces, ending with a newline.

    A NaN that got this far is a bug and raises ValueError. Half a surrogate pair, which a JSON document may
    hold and UTF-8 may not, is written as an escape.
    """
    try:
        return (_encode(value) + "\n").encode()
    except UnicodeEncodeError:
        return (_encode_ascii(value) + "\n").encode()


def event_objects(batch: EventBatch) -> Iterator[dict[str, Any]]:
    """Yield each event as the dict that its line is made of, fields in the documented order."""
    shared = _shared(batch)
    codes = batch.events.column("op").to_pylist()
    changed = batch.events.column("changed").to_pylist()
    for scn, code, names, (key, before, after) in zip(batch.scns, codes, changed, json_images(batch), strict=True):
        yield {
            "stream": batch.stream,
            "scn": scn,
            "source": batch.source,
            "op": OPS[code],
            "key": key,
            "before": before,
            "after": after,
            "changed": names,
        } | shared


def _shared(batch: EventBatch) -> dict[str, Any]:
    """The fields that all events of a batch have alike; they come last."""
    seen = None if batch.seen_unchanged_at is None else datetime_text(batch.seen_unchanged_at)
    fields: dict[str, Any] = {
        "cycle": batch.cycle,
        "window": {"first": batch.window.first, "last": batch.window.last},
        "schema": batch.schema_id,
        "seen_unchanged_at": seen,
        "detected_at": datetime_text(batch.detected_at),
    }
    return fields | ({"baseline": True} if batch.baseline else {})
