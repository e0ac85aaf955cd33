"""Logical types and schemas: what a column means, whatever physical type brought it here.

A logical type is pinned per source and column in the catalog. Each has one *storage* type in Arrow, in which records
are staged, hashed, kept in Parquet and sent in segments; physical variants (int32, large_string, dictionary, pandas'
own) are converted to it at the door.

Invariant: `layout` of two types is equal exactly when equal values of both give equal canonical bytes, so an index is
usable without re-fingerprinting as long as the layouts of its columns stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

Kind = Literal[
    "null", "bool", "int", "float", "decimal", "string", "bytes", "date", "time", "duration", "timestamp", "uuid",
    "list", "map", "struct", "json",
]  # fmt: skip
TimeUnit = Literal["us", "ns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalType:
    """One logical type; the attributes that its kind has no use for are None, False or empty.

    bits: of an int (8 to 64) or float (32, 64), as the store declares it; it never enters the hash.
    precision, scale: of a decimal; both None for an unconstrained one, which is kept as normalised text.
    unit: of a time, duration or timestamp. zone: whether a timestamp is an instant (kept in UTC).
    children: of a list (one, named "item"), map ("key", "value") or struct.
    """

    kind: Kind
    bits: int | None = None
    precision: int | None = None
    scale: int | None = None
    unit: TimeUnit | None = None
    zone: bool = False
    children: tuple[tuple[str, LogicalType], ...] = ()

    def __str__(self) -> str:
        match self.kind:
            case "int" | "float":
                return f"{self.kind}{self.bits}"
            case "decimal" if self.precision is not None:
                return f"decimal({self.precision},{self.scale})"
            case "time" | "duration":
                return f"{self.kind}[{self.unit}]"
            case "timestamp":
                return f"timestamp[{self.unit},UTC]" if self.zone else f"timestamp[{self.unit}]"
            case "list":
                return f"list<{self.children[0][1]}>"
            case "map":
                return f"map<{self.children[0][1]},{self.children[1][1]}>"
            case "struct":
                return "struct<" + ",".join(f"{name}:{child}" for name, child in self.children) + ">"
            case _:
                return self.kind

    @property
    def layout(self) -> str:
        """The part of the type that enters canonical bytes: without int and float width or decimal precision."""
        match self.kind:
            case "int" | "float":
                return self.kind
            case "decimal" if self.precision is not None:
                return f"decimal{128 if self.precision <= 38 else 256}({self.scale})"
            case "list" | "map" | "struct":
                # Nested values are hashed as text, which depends on the kinds inside.
                inner = sorted(f"{name}:{child.layout}" for name, child in self.children)
                return f"{self.kind}<{','.join(inner)}>"
            case _:
                return str(self)

    @property
    def storage(self) -> pa.DataType:
        """The one Arrow type that columns of this type are held in."""
        match self.kind:
            case "decimal":
                return _decimal_storage(self.precision, self.scale)
            case "time":
                return pa.time64(self.unit)
            case "duration":
                return pa.duration(self.unit)
            case "timestamp":
                return pa.timestamp(self.unit, tz="UTC" if self.zone else None)
            case "list":
                return pa.list_(pa.field("item", self.children[0][1].storage))
            case "map":
                return pa.map_(self.children[0][1].storage, self.children[1][1].storage)
            case "struct":
                return pa.struct([pa.field(name, child.storage) for name, child in self.children])
            case _:
                return _STORAGE[self.kind]

    def to_json(self) -> dict[str, Any]:
        """The catalog's form; `from_json` reads it back."""
        body: dict[str, Any] = {"kind": self.kind}
        for name in ("bits", "precision", "scale", "unit", "zone"):
            value = getattr(self, name)
            if value is not None and value is not False:
                body[name] = value
        if self.children:
            body["children"] = [[name, child.to_json()] for name, child in self.children]
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> LogicalType:
        """Read what `to_json` wrote."""
        fields = dict(body)
        children = tuple((name, cls.from_json(child)) for name, child in fields.pop("children", ()))
        return cls(**fields, children=children)


NULL = LogicalType(kind="null")
BOOL = LogicalType(kind="bool")
INT = LogicalType(kind="int", bits=64)
FLOAT = LogicalType(kind="float", bits=64)
DECIMAL_TEXT = LogicalType(kind="decimal")
STRING = LogicalType(kind="string")
BYTES = LogicalType(kind="bytes")
DATE = LogicalType(kind="date")
TIME = LogicalType(kind="time", unit="us")
DURATION = LogicalType(kind="duration", unit="us")
TIMESTAMP = LogicalType(kind="timestamp", unit="us")
TIMESTAMP_UTC = LogicalType(kind="timestamp", unit="us", zone=True)
UUID = LogicalType(kind="uuid")
JSON = LogicalType(kind="json")

_STORAGE: dict[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "uuid": pa.binary(16),
    "json": pa.string(),
}


def _decimal_storage(precision: int | None, scale: int | None) -> pa.DataType:
    if precision is None or scale is None:
        return pa.string()
    # The width is the family's, so that a wider precision needs no rewrite of what is stored.
    return pa.decimal128(38, scale) if precision <= 38 else pa.decimal256(76, scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A named column; `declared` is the store's own word for its type, for people and for noticing a widening."""

    name: str
    type: LogicalType
    declared: str | None = None


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The columns of a source in the store's order, and the names of its key columns in key order."""

    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in the store's order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def types(self) -> dict[str, LogicalType]:
        """Logical type by column name."""
        return {column.name: column.type for column in self.columns}

    @cached_property
    def arrow(self) -> pa.Schema:
        """The storage schema; each field carries its logical type in its metadata."""
        return pa.schema([_field(column) for column in self.columns])

    @cached_property
    def key_schema(self) -> Schema:
        """The schema of the key columns alone, in key order."""
        return self.select(self.key)

    def select(self, names: Iterable[str]) -> Schema:
        """The schema of these columns, in this order; key columns that are left out leave the key."""
        by_name = {column.name: column for column in self.columns}
        chosen = tuple(by_name[name] for name in names)
        kept = {column.name for column in chosen}
        return Schema(columns=chosen, key=tuple(name for name in self.key if name in kept))

    def with_key(self, key: Iterable[str]) -> Schema:
        """The same columns under another key."""
        return replace(self, key=tuple(key))

    def to_json(self) -> dict[str, Any]:
        """The catalog's form; `from_json` reads it back."""
        columns = [
            {"name": column.name, "type": column.type.to_json()}
            | ({"declared": column.declared} if column.declared else {})
            for column in self.columns
        ]
        return {"columns": columns, "key": list(self.key)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Schema:
        """Read what `to_json` wrote."""
        columns = tuple(
            Column(name=item["name"], type=LogicalType.from_json(item["type"]), declared=item.get("declared"))
            for item in body["columns"]
        )
        return cls(columns=columns, key=tuple(body["key"]))


_METADATA = b"differ.type"


def _field(column: Column) -> pa.Field:
    body = json.dumps(column.type.to_json(), separators=(",", ":"))
    return pa.field(column.name, column.type.storage, metadata={_METADATA: body.encode()})


def stored_type(field: pa.Field) -> LogicalType | None:
    """The logical type that a field of `Schema.arrow` carries, or None for a field from elsewhere."""
    body = (field.metadata or {}).get(_METADATA)
    return None if body is None else LogicalType.from_json(json.loads(body))
