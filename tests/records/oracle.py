"""The canonical bytes once more, row by row in plain Python, from the format page and not from the code."""

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Context, Decimal
from typing import Any

from differ.records.json_values import canonical_text
from differ.records.types import LogicalType, Schema

EPOCH_DAY = date(1970, 1, 1)
FIXED = {"bool": 1, "int": 8, "float": 8, "date": 4, "time": 8, "duration": 8, "timestamp": 8, "uuid": 16}


def canonical_bytes(row: Mapping[str, Any], schema: Schema, names: Sequence[str]) -> bytes:
    """`row` holds Python values; timestamps, times and durations are counts of their unit."""
    ordered = sorted(names)
    bitmap = bytearray((len(ordered) + 7) // 8)
    header, tail = b"", b""
    for index, name in enumerate(ordered):
        type_, value = schema.types[name], row[name]
        if value is None:
            bitmap[index // 8] |= 1 << (index % 8)
        width = fixed_width(type_)
        if width is None:
            body = b"" if value is None else variable(value, type_)
            header += struct.pack("<I", len(body))
            tail += body
        else:
            header += bytes(width) if value is None else fixed(value, type_, width)
    return bytes(bitmap) + header + tail


def fixed_width(type_: LogicalType) -> int | None:
    if type_.kind == "null":
        return 0
    if type_.kind == "decimal" and type_.precision is not None:
        return 16 if type_.precision <= 38 else 32
    return FIXED.get(type_.kind)


def fixed(value: Any, type_: LogicalType, width: int) -> bytes:
    match type_.kind:
        case "float":
            number = 0.0 if value == 0 else value
            return bytes.fromhex("000000000000f87f") if math.isnan(number) else struct.pack("<d", number)
        case "decimal":
            return int(value.scaleb(type_.scale or 0, Context(prec=100))).to_bytes(width, "little", signed=True)
        case "date":
            return struct.pack("<i", (value - EPOCH_DAY).days)
        case "uuid":
            return bytes(value.bytes)
        case _:
            return int(value).to_bytes(width, "little", signed=True)


def variable(value: Any, type_: LogicalType) -> bytes:
    match type_.kind:
        case "string":
            return str(value).encode()
        case "bytes":
            return bytes(value)
        case "json":
            return canonical_text(value).encode()
        case "decimal":
            return plain(value).encode()
        case _:
            return nested(value, type_).encode()


def plain(value: Decimal) -> str:
    if not value.is_finite():
        return str(value).replace("-NaN", "NaN")
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "0", "") else text


def nested(value: Any, type_: LogicalType) -> str:
    if value is None:
        return "null"
    if type_.kind == "list":
        return "[" + ",".join(nested(item, type_.children[0][1]) for item in value) + "]"
    if type_.kind == "struct":
        fields = [(name, nested(value[name], child)) for name, child in type_.children]
        return "{" + ",".join(f'"{name}":{text}' for name, text in sorted(fields)) + "}"
    if type_.kind == "map":
        (_, key_type), (_, value_type) = type_.children
        return "[" + ",".join(sorted(f"[{nested(k, key_type)},{nested(v, value_type)}]" for k, v in value)) + "]"
    return canonical_text(value)
