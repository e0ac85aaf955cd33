"""The JSON Schema (2020-12) of a row as NDJSON shows it: for validators, code generators and editors.

Invariant: every row that `differ.formats.ndjson` writes under a schema is valid under its JSON Schema.
Source: https://json-schema.org/draft/2020-12, and docs/formats/events.md for the JSON form of each type.
"""

from __future__ import annotations

from typing import Any

from differ.records.types import LogicalType, Schema

_TEXT = {"type": "string"}
_NUMBER_TEXT = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$|^(NaN|-?Infinity)$"}
_SIMPLE: dict[str, dict[str, Any]] = {
    "null": {},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
    "decimal": _NUMBER_TEXT,
    "string": _TEXT,
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "date": {"type": "string", "format": "date"},
    "time": _TEXT,
    "duration": _TEXT,
    "uuid": {"type": "string", "format": "uuid"},
}


def json_schema(schema: Schema, *, title: str | None = None) -> dict[str, Any]:
    """The JSON Schema of a row; all columns are always there, and each but those of the key may be null."""
    properties: dict[str, Any] = {}
    for column in schema.columns:
        properties[column.name] = _nullable(value_schema(column.type), column.name not in schema.key)
        properties[column.name]["x-differ-type"] = str(column.type)
    body: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    if title is not None:
        body["title"] = title
    return body | {
        "type": "object",
        "properties": properties,
        "required": list(schema.names),
        "additionalProperties": False,
        "x-differ-key": list(schema.key),
    }


def value_schema(type_: LogicalType) -> dict[str, Any]:
    """The JSON Schema of one value that is not null; {} where a document may hold anything."""
    match type_.kind:
        case "timestamp" if type_.zone:
            return {"type": "string", "format": "date-time"}
        case "timestamp":
            return dict(_TEXT)
        case "json":
            return {}
        case "list":
            return {"type": "array", "items": _nullable(value_schema(type_.children[0][1]))}
        case "map":
            return _map_schema(type_)
        case "struct":
            fields = {name: _nullable(value_schema(child)) for name, child in type_.children}
            return {"type": "object", "properties": fields, "required": list(fields)}
        case _:
            return dict(_SIMPLE[type_.kind])


def _map_schema(type_: LogicalType) -> dict[str, Any]:
    (_, key), (_, value) = type_.children
    if key.kind == "string":
        return {"type": "object", "additionalProperties": _nullable(value_schema(value))}
    pair = [value_schema(key), _nullable(value_schema(value))]
    return {"type": "array", "items": {"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2}}


def _nullable(body: dict[str, Any], nullable: bool = True) -> dict[str, Any]:
    if not body or not nullable:
        return body
    if set(body) == {"type"} and isinstance(body["type"], str):
        return {"type": [body["type"], "null"]}
    return {"anyOf": [body, {"type": "null"}]}
