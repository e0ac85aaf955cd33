"""Changes as the messages of event sinks: differ's own JSON, Debezium's envelope, CloudEvents.

As `differ events` writes them, but of what the mapping made: key, before and after are those of the destination.
`data_collection_order` of Debezium's transaction is null, since a sink may be given a part of a window.

The rows of a bootstrap all have one SCN, so what names one of them is `(stream, generation, source, key)`.
Invariant: two messages have the same identity exactly when they are of the same event, or row of a generation.
"""

from __future__ import annotations

from typing import Any

import xxhash

from differ.formats import debezium
from differ.formats.cloudevents import cloud_event
from differ.records.clock import datetime_text
from differ.sinks.contract import Change, Generation
from differ.sinks.plain import canonical_json, key_text, plain_document, shown_key

Generated = Generation | None


def native_event(change: Change) -> dict[str, Any]:
    """The object of differ's NDJSON."""
    event = change.event
    before = None if change.before is None else plain_document(change.before, change.types)
    after = None if change.document is None else plain_document(change.document, change.types)
    body = {
        "stream": change.stream,
        "scn": change.scn,
        "source": change.source,
        "op": change.op,
        "key": shown_key(change),
        "before": before,
        "after": after,
        "changed": _changed(change, before, after),
        "cycle": event.cycle,
        "window": {"first": event.window.first, "last": event.window.last},
        "schema": event.schema,
        "seen_unchanged_at": None if event.seen_unchanged_at is None else datetime_text(event.seen_unchanged_at),
        "detected_at": datetime_text(event.detected_at),
    }
    if event.baseline:
        body["baseline"] = True
    return body


def debezium_event(change: Change, name: str) -> dict[str, Any]:
    """Debezium's envelope. name: the server's logical name."""
    head = debezium.head(change.event, change.event.schema, name)
    before = None if change.before is None else plain_document(change.before, change.types)
    after = None if change.document is None else plain_document(change.document, change.types)
    return debezium.envelope(head, change.op, change.scn, before, after, None)


def as_cloud_event(change: Change, generation: Generated = None) -> dict[str, Any]:
    """CloudEvents' structured JSON, whose data is the native event."""
    identity = None if generation is None else identity_of(change, generation)
    return cloud_event(key_text(change), native_event(change), identity=identity)


def identity_of(change: Change, generation: Generated = None) -> str:
    """What names the event within its stream: its SCN; of a bootstrap's row its generation, source and key's hash."""
    if generation is None:
        return str(change.scn)
    digest = xxhash.xxh3_128_hexdigest(key_text(change).encode())
    return f"{generation.id}:{change.source}:{digest}"


def mark(sink: str, generation: Generation, moment: str) -> dict[str, Any]:
    """The message before (`begin`) and after (`end`) the rows of a bootstrap.

    An event sink cannot remove what its readers hold: one that keeps state drops, at the end, what it holds of these
    sources and was not given since the beginning.
    """
    return {
        "control": f"bootstrap_{moment}",
        "sink": sink,
        "generation": generation.id,
        "stream": generation.stream,
        "scn": generation.scn,
        "sources": list(generation.sources),
    }


def encoded(value: Any) -> bytes:
    """JSON as UTF-8, without spaces."""
    return canonical_json(value).encode()


def _changed(change: Change, before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    if change.op != "update" or before is None or after is None:
        return []
    if change.document == change.event.after:  # not mapped: the fields that the comparison found
        return list(change.event.changed)
    return [
        name for name in {**after, **before} if name not in after or name not in before or after[name] != before[name]
    ]
