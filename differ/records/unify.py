"""One schema for all batches of a scan whose types nobody declared.

    T with T = T           null with T = T               int widths: the wider        us with ns = ns
    int with float = float  int with decimal, decimals: wide enough, past 76 digits unconstrained

Everything else is a type change in mid-scan. Whether each value is exact in the wider type is asked later, by `fit`.

Invariant: associative and commutative, but for the order of columns, which is the first schema's.
"""

from __future__ import annotations

from dataclasses import replace

from differ.errors import SchemaDriftError
from differ.records.arrow import decimal_type
from differ.records.types import DECIMAL_TEXT, Column, LogicalType, Schema

_INT_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}


def unify(a: Schema, b: Schema, *, source: str) -> Schema:
    """The narrowest schema that the rows of both fit; key and column order are those of `a`.

    Raises SchemaDriftError naming the column and its two types.
    """
    for one, other in ((a, b), (b, a)):
        for name in one.names:
            if name not in other.types:
                raise SchemaDriftError(
                    f"scan {source}: the iterator changed its schema in mid-scan: column {name!r} is not in every"
                    " batch",
                    hint="give every batch the same columns; null for what is not known",
                )
    declared = {column.name: column.declared for column in b.columns}
    columns = []
    for column in a.columns:
        type_ = unify_types(column.type, b.types[column.name])
        if type_ is None:
            raise SchemaDriftError(
                f"scan {source}: column {column.name!r} changed its type in mid-scan:"
                f" {column.type} in one batch, {b.types[column.name]} in another",
                hint=f'let the plugin give one type, or declare it: @iterator(types={{"{column.name}": "json"}})',
            )
        word = column.declared if type_ == column.type else declared[column.name]
        columns.append(Column(name=column.name, type=type_, declared=word))
    return replace(a, columns=tuple(columns))


def unify_types(a: LogicalType, b: LogicalType) -> LogicalType | None:
    """The narrowest type that holds the values of both, None if there is none."""
    if a == b or b.kind == "null":
        return a
    if a.kind == "null":
        return b
    kinds = {a.kind, b.kind}
    if kinds <= {"int", "float"}:
        if kinds == {"int"}:
            return LogicalType(kind="int", bits=max(a.bits or 0, b.bits or 0))
        return LogicalType(kind="float", bits=_float_bits(a, b))
    if kinds <= {"int", "decimal"}:
        return _decimal(a, b)
    if a.kind != b.kind or a.zone != b.zone:
        return None
    if a.unit != b.unit:
        return replace(a, unit="ns")
    if a.kind in ("list", "map", "struct"):
        return _nested(a, b)
    return None


def _float_bits(a: LogicalType, b: LogicalType) -> int:
    """32 only among 32-bit floats: an int has its digits in a double alone."""
    return 32 if a.kind == b.kind == "float" and a.bits == b.bits == 32 else 64


def _decimal(a: LogicalType, b: LogicalType) -> LogicalType:
    digits, scales = [], []
    for type_ in (a, b):
        if type_.kind == "int":
            digits.append(_INT_DIGITS[type_.bits or 64])
            scales.append(0)
        elif type_.precision is None or type_.scale is None:
            return DECIMAL_TEXT
        else:
            digits.append(type_.precision - type_.scale)
            scales.append(type_.scale)
    return decimal_type(max(digits) + max(scales), max(scales))


def _nested(a: LogicalType, b: LogicalType) -> LogicalType | None:
    if [name for name, _ in a.children] != [name for name, _ in b.children]:
        return None
    children = []
    for (name, one), (_, other) in zip(a.children, b.children, strict=True):
        child = unify_types(one, other)
        if child is None:
            return None
        children.append((name, child))
    return replace(a, children=tuple(children))
