"""Change events as CloudEvents 1.0 in structured JSON, one a line; `data` is the NDJSON event unchanged.

`id` with `source` names an event for ever (stream and SCN never recur), which is what CloudEvents asks
duplicates to be found by. `subject` and the extension `partitionkey` are the key's canonical JSON text, so
events of one key share a partition. The extension `sequence` is the SCN, padded so that it sorts as text.

Source: the CloudEvents 1.0.2 specification, its JSON event format, and the extensions "partitioning" and
"sequence".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from differ.formats.batch import EventBatch
from differ.formats.ndjson import encode_line, event_objects
from differ.records.keytext import key_texts

TYPE_PREFIX = "io.differ.change."


def event_lines(batch: EventBatch) -> Iterator[bytes]:
    """Yield each event as one line of JSON,"""
    return map(encode_line, cloud_events(batch))


def cloud_events(batch: EventBatch) -> Iterator[dict[str, Any]]:
    """Yield each event as the dict that its line is made of."""
    keys = key_texts(batch.images("key"), batch.key_schema).to_pylist()
    for key, event in zip(keys, event_objects(batch), strict=True):
        yield cloud_event(key, event)


def cloud_event(key: str, event: dict[str, Any], *, identity: str | None = None) -> dict[str, Any]:
    """One event. key: its canonical JSON text. event: the object of NDJSON. identity: what follows the stream in `id`,
    the SCN unless another is given."""
    return {
        "specversion": "1.0",
        "id": f"{event['stream']}:{identity or event['scn']}",
        "source": f"urn:uuid:{event['stream']}#{quote(event['source'], safe='')}",
        "type": TYPE_PREFIX + event["op"],
        "subject": key,
        "time": event["detected_at"],
        "datacontenttype": "application/json",
        "partitionkey": key,
        "sequence": f"{event['scn']:020d}",
        "data": event,
    }
