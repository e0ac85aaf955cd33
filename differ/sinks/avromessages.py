"""Changes as Avro values, one at a time, for messages that carry a schema's id: the schema of `differ.formats.avro`.

Values are Python's own here and go through no column. A field whose type is not known (of a hook's own making) has no
place in a schema and is refused by name.

Invariant: a reader of the schema gets what a reader of differ's Avro containers gets from the same columns.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from differ.errors import SinkError
from differ.formats.avro_schema import AvroSchema, avro_names, event_schema, is_avro_decimal
from differ.records.clock import EPOCH
from differ.records.json_values import canonical_text
from differ.records.types import Column, LogicalType, Schema
from differ.sinks.contract import Change, Document

_MICROSECOND = timedelta(microseconds=1)
_LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_DAY_ZERO = date(1970, 1, 1)


def schema_of(change: Change) -> AvroSchema:
    """The Avro schema of the change's message. Raises SinkError for fields without a type."""
    document = change.document if change.document is not None else change.before
    names = tuple(document if document is not None else change.key)
    if unknown := [name for name in names if name not in change.types]:
        raise SinkError(
            f"write {change.source} as Avro: no type is known of the field {unknown[0]!r}",
            hint="a hook made it; write JSON, or leave the field out",
        )
    return _schema(change.source, tuple((name, change.types[name]) for name in change.types), tuple(change.key))


@lru_cache(maxsize=64)
def _schema(source: str, types: tuple[tuple[str, LogicalType], ...], key: tuple[str, ...]) -> AvroSchema:
    return event_schema(source, Schema(columns=tuple(Column(name=n, type=t) for n, t in types), key=key))


def avro_bytes(change: Change, parsed: Any) -> bytes:
    """The change's message, without header. parsed: `schema_of(change)`, parsed by fastavro."""
    from fastavro import schemaless_writer

    event = change.event
    types = change.types
    key_types = {name: types[name] for name in change.key if name in types}
    record = {
        "stream": change.stream,
        "scn": change.scn,
        "source": change.source,
        "op": change.op,
        "key": _record(change.key, key_types),
        "before": None if change.before is None else _record(change.before, types),
        "after": None if change.document is None else _record(change.document, types),
        "changed": list(event.changed),
        "cycle": event.cycle,
        "window": {"first": event.window.first, "last": event.window.last},
        "schema": event.schema,
        "seen_unchanged_at": event.seen_unchanged_at,
        "detected_at": event.detected_at,
        "baseline": event.baseline,
    }
    out = io.BytesIO()
    schemaless_writer(out, parsed, record)
    return out.getvalue()


def _record(values: Document, types: Mapping[str, LogicalType]) -> dict[str, Any]:
    names = avro_names(types)
    return {names[name]: avro_value(values.get(name), type_) for name, type_ in types.items()}


def avro_value(value: Any, type_: LogicalType) -> Any:
    """One value as fastavro takes it for the Avro type of `type_`."""
    if value is None:
        return None
    match type_.kind:
        case "list":
            return [avro_value(item, type_.children[0][1]) for item in value]
        case "struct":
            return _record(value, dict(type_.children))
        case "map":
            return _map(value, type_)
        case "decimal" if not is_avro_decimal(type_):
            return f"{value:f}" if type_.precision is not None else str(value)
        case _:
            write = _WRITERS.get(type_.kind)
            return value if write is None else write(value, type_)


def _map(value: Any, type_: LogicalType) -> Any:
    (_, key), (_, item) = type_.children
    pairs = value.items() if isinstance(value, Mapping) else value
    if key.kind == "string":
        return {name: avro_value(inner, item) for name, inner in pairs}
    return [{"key": avro_value(name, key), "value": avro_value(inner, item)} for name, inner in pairs]


def _timestamp(value: datetime, type_: LogicalType) -> int:
    micros = (value - (EPOCH if value.tzinfo is not None else _LOCAL_EPOCH)) // _MICROSECOND
    return micros * 1000 + int(getattr(value, "nanosecond", 0)) if type_.unit == "ns" else micros


def _time(value: time | str, type_: LogicalType) -> int:
    if isinstance(value, str):  # a time of day in nanoseconds, which Python's class has no room for
        clock, _, fraction = value.partition(".")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((hours * 60 + minutes) * 60 + seconds) * 10**9 + int(fraction.ljust(9, "0"))
    micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond
    return micros * 1000 if type_.unit == "ns" else micros


def _duration(value: timedelta, type_: LogicalType) -> int:
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return micros * 1000 + int(getattr(value, "nanoseconds", 0)) if type_.unit == "ns" else micros


_WRITERS: dict[str, Callable[[Any, LogicalType], Any]] = {
    "json": lambda value, _type: canonical_text(value),
    "uuid": lambda value, _type: str(UUID(str(value))),
    "date": lambda value, _type: (value - _DAY_ZERO).days,
    "timestamp": _timestamp,
    "time": _time,
    "duration": _duration,
}
