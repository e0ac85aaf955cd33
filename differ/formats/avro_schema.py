"""Avro schemas of events and rows, from differ's schemas.

Avro names are narrow (letters, digits, underscore) and its types few, so each field carries what was lost as
properties that readers may ignore: `differ.name`, the column's own name, and `differ.type`, its logical type.

    int -> long, float -> double          one Avro type a kind, so widening a column changes no schema
    decimal(p,s) -> bytes decimal         of 38 or 76 digits; unconstrained, or of negative scale: string
    timestamp with zone -> timestamp-*    without: local-timestamp-*; -micros or -nanos
    time[us] -> time-micros               time[ns] and duration: long, told by differ.type
    uuid -> string uuid                   json -> string, canonical Extended JSON
    map with string keys -> map           other maps: array of {key, value} records

Invariant: every value has exactly one Avro form, and it can be turned back without loss.
Source: the Avro 1.12 specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from differ.model import OPS
from differ.records.types import Column, LogicalType, Schema

AvroSchema = dict[str, Any]

_PLAIN: dict[str, str] = {
    "null": "null",
    "bool": "boolean",
    "int": "long",
    "float": "double",
    "string": "string",
    "bytes": "bytes",
}
_UNITS = {"us": "micros", "ns": "nanos"}
_INSTANT = {"type": "long", "logicalType": "timestamp-micros"}


def event_schema(
    source: str, schema: Schema, before_schema: Schema | None = None, key_schema: Schema | None = None
) -> AvroSchema:
    """The Avro schema of one source's events: a record `ChangeEvent` in the namespace `differ.<source>`.

    Before and after are both `Row`, or `RowBefore` and `Row` where a schema change gave them different
    columns. key_schema: where it is not that of `schema`.
    """
    namespace = f"differ.{avro_name(source)}"
    changes = before_schema is not None and before_schema != schema
    row = record_schema(schema, name="Row")
    before = record_schema(before_schema, name="RowBefore") if before_schema and changes else row
    window = _record("Window", [_field("first", "long"), _field("last", "long")])
    fields = [
        _field("stream", "string"),
        _field("scn", "long"),
        _field("source", "string"),
        _field("op", {"type": "enum", "name": "Op", "symbols": list(OPS)}),
        _field("key", record_schema(key_schema or schema.key_schema, name="Key")),
        _optional("before", before),
        _optional("after", row if changes else "Row"),
        _field("changed", {"type": "array", "items": "string"}),
        _field("cycle", "long"),
        _field("window", window),
        _field("schema", "long"),
        _optional("seen_unchanged_at", _INSTANT),
        _field("detected_at", _INSTANT),
        _field("baseline", "boolean"),
    ]
    return _record("ChangeEvent", fields) | {"namespace": namespace, "differ.source": source}


def record_schema(schema: Schema, *, name: str = "Row", namespace: str | None = None) -> AvroSchema:
    """The Avro record of a row of this schema; every column may be null."""
    names = avro_names(schema.names)
    fields = [_column_field(names[column.name], column, name) for column in schema.columns]
    return _record(name, fields) | ({"namespace": namespace} if namespace else {})


def avro_name(name: str) -> str:
    """The name with each character that Avro does not know replaced by an underscore."""
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return clean if re.match(r"[A-Za-z_]", clean) else f"_{clean}"


def avro_names(names: Iterable[str]) -> dict[str, str]:
    """Avro names by name, in the given order: a valid name stays, others are numbered where they clash."""
    chosen = {name: avro_name(name) for name in names}
    taken = {name for name, clean in chosen.items() if name == clean}
    for name, clean in chosen.items():
        if name == clean:
            continue
        candidate, number = clean, 2
        while candidate in taken:
            candidate, number = f"{clean}_{number}", number + 1
        taken.add(candidate)
        chosen[name] = candidate
    return chosen


def is_avro_decimal(type_: LogicalType) -> bool:
    """Whether a decimal fits Avro's own: a scale is known, and it lies between 0 and the precision."""
    return type_.scale is not None and 0 <= type_.scale <= _digits(type_)


def _digits(type_: LogicalType) -> int:
    """The precision of what the column is stored in: stores let values pass that are longer than they declare."""
    return int(type_.storage.precision) if type_.precision is not None else 0


def _column_field(name: str, column: Column, parent: str) -> AvroSchema:
    field = _optional(name, avro_type(column.type, f"{parent}_{name}"))
    return field | {"differ.name": column.name, "differ.type": str(column.type)}


def avro_type(type_: LogicalType, name: str) -> Any:
    """The Avro type of a logical type, without null; `name` is what records below it are called."""
    match type_.kind:
        case "list":
            return {"type": "array", "items": _nullable(avro_type(type_.children[0][1], f"{name}_item"))}
        case "map":
            return _map_type(type_, name)
        case "struct":
            names = avro_names(child for child, _ in type_.children)
            columns = [Column(name=child, type=child_type) for child, child_type in type_.children]
            return _record(name, [_column_field(names[column.name], column, name) for column in columns])
        case _:
            return _scalar_type(type_)


def _scalar_type(type_: LogicalType) -> Any:
    match type_.kind:
        case "decimal" if is_avro_decimal(type_):
            logical = {"logicalType": "decimal", "precision": _digits(type_), "scale": type_.scale}
            return {"type": "bytes", **logical}
        case "decimal" | "json":
            return "string"
        case "date":
            return {"type": "int", "logicalType": "date"}
        case "time" if type_.unit == "us":
            return {"type": "long", "logicalType": "time-micros"}
        case "time" | "duration":
            return "long"
        case "timestamp":
            prefix = "timestamp" if type_.zone else "local-timestamp"
            return {"type": "long", "logicalType": f"{prefix}-{_UNITS[type_.unit or 'us']}"}
        case "uuid":
            return {"type": "string", "logicalType": "uuid"}
        case _:
            return _PLAIN[type_.kind]


def _map_type(type_: LogicalType, name: str) -> AvroSchema:
    (_, key), (_, value) = type_.children
    values = _nullable(avro_type(value, f"{name}_value"))
    if key.kind == "string":
        return {"type": "map", "values": values}
    fields = [_field("key", avro_type(key, f"{name}_key")), _field("value", values)]
    return {"type": "array", "items": _record(f"{name}_entry", fields)}


def _nullable(type_: Any) -> Any:
    return "null" if type_ == "null" else ["null", type_]


def _record(name: str, fields: list[AvroSchema]) -> AvroSchema:
    return {"type": "record", "name": name, "fields": fields}


def _field(name: str, type_: Any) -> AvroSchema:
    return {"name": name, "type": type_}


def _optional(name: str, type_: Any) -> AvroSchema:
    return {"name": name, "type": _nullable(type_), "default": None}
