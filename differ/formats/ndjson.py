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
    """Yield each event as one line of UTF-8 JSON that ends with a newline."""
    return map(encode_line, event_objects(batch))


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
    window = {"first": batch.window.first, "last": batch.window.last}
    seen = None if batch.seen_unchanged_at is None else datetime_text(batch.seen_unchanged_at)
    detected = datetime_text(batch.detected_at)
    codes = batch.events.column("op").to_pylist()
    changed = batch.events.column("changed").to_pylist()
    for scn, code, names, (key, before, after) in zip(batch.scns, codes, changed, json_images(batch), strict=True):
        event = {
            "stream": batch.stream,
            "scn": scn,
            "source": batch.source,
            "op": OPS[code],
            "key": key,
            "before": before,
            "after": after,
            "changed": names,
            "cycle": batch.cycle,
            "window": window,
            "schema": batch.schema_id,
            "seen_unchanged_at": seen,
            "detected_at": detected,
        }
        if batch.baseline:
            event["baseline"] = True
        yield event
