"""Change events in the envelope of Debezium, for the consumers that exist: without Connect's `schema` part.

    {"before": .., "after": .., "source": {..}, "transaction": {..}, "op": "u", "ts_ms": .., "ts_us": ..,
    "ts_ns": ..}

op: c insert, u update, d delete, r a row of a first cycle. A window is a transaction: its id is the last
SCN with the stream, `total_order` counts its events over all sources and `data_collection_order` those of
one source, both from 1. The times are of the scan that found the change; nobody can know from reading alone
when it was made.

Source: "Data change events" and "Transaction metadata" in Debezium's connector documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from typing import Any

from differ.formats.batch import EventBatch
from differ.formats.images import json_images
from differ.formats.ndjson import encode_line
from differ.model import OPS, ChangeEvent
from differ.records.clock import datetime_text

_OPS = {"insert": "c", "update": "u", "delete": "d"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def lines(batch: EventBatch, *, name: str = "differ") -> Iterator[bytes]:
    """Yield each event's envelope as one line of JSON; `name` is the server's logical name."""
    for _, envelope in _envelopes(batch, name):
        yield encode_line(envelope)


def messages(
    batch: EventBatch, *, tombstones: bool = False, name: str = "differ"
) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield (key, value) as a Kafka message has them, both JSON without a newline.

    tombstones: after each delete also (key, None), which lets a compacted topic forget the key.
    """
    for key, envelope in _envelopes(batch, name):
        key_bytes = encode_line(key)[:-1]
        yield key_bytes, encode_line(envelope)[:-1]
        if tombstones and envelope["op"] == "d":
            yield key_bytes, None


def head(of: EventBatch | ChangeEvent, schema: int, name: str) -> dict[str, Any]:
    """What the envelopes of a batch, or of one event, have in common, for `envelope`. schema: its id."""
    microseconds = (of.detected_at - _EPOCH) // timedelta(microseconds=1)
    times = {"ts_ms": microseconds // 1_000, "ts_us": microseconds, "ts_ns": microseconds * 1_000}
    seen = None if of.seen_unchanged_at is None else datetime_text(of.seen_unchanged_at)
    return {
        "times": times,
        "source": {
            "version": _version(),
            "connector": "differ",
            "name": name,
            **times,
            "snapshot": "true" if of.baseline else "false",
            "db": of.stream,
            "sequence": None,
            "table": of.source,
            "scn": None,
            "cycle": of.cycle,
            "window_first": of.window.first,
            "window_last": of.window.last,
            "schema_version": schema,
            "seen_unchanged_at": seen,
        },
        "op": "r" if of.baseline else None,
        "transaction": f"{of.stream}:{of.window.last}",
        "first": of.window.first,
    }


def envelope(head: dict[str, Any], op: str, scn: int, before: Any, after: Any, order: int | None) -> dict[str, Any]:
    """One envelope. op: insert, update, delete. order: the event's number among those of its source in the window, from
    1, or None where it is not known. Before and after are JSON values."""
    return {
        "before": before,
        "after": after,
        "source": {**head["source"], "scn": scn},
        "transaction": {
            "id": head["transaction"],
            "total_order": scn - head["first"] + 1,
            "data_collection_order": order,
        },
        "op": head["op"] or _OPS[op],
        **head["times"],
    }


@cache
def _version() -> str:
    return version("differ-cdc")


def _envelopes(batch: EventBatch, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    shared = head(batch, batch.schema_id, name)
    codes = batch.events.column("op").to_pylist()
    ordinals = batch.events.column("ordinal").to_pylist()
    for code, ordinal, (key, before, after) in zip(codes, ordinals, json_images(batch), strict=True):
        scn = batch.first_scn + ordinal
        yield key, envelope(shared, OPS[code], scn, before, after, ordinal + 1)
