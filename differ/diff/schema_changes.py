"""What became different between two schemas of a source, in sentences, and which types a scan settles on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from differ.records.types import Column, LogicalType, Schema


def schema_changes(old: Schema, new: Schema) -> tuple[str, ...]:
    """One sentence for each column added, dropped, widened or of another type, and for another key; () when equal."""
    found = []
    for column in new.columns:
        if column.name not in old.types:
            found.append(f"column {column.name!r} added: {_shown(column)}")
    before = {column.name: column for column in old.columns}
    after = {column.name for column in new.columns}
    found.extend(f"column {name!r} dropped: {_shown(column)}" for name, column in before.items() if name not in after)
    for column in new.columns:
        was = before.get(column.name)
        if was is not None and (was.type, was.declared) != (column.type, column.declared):
            found.append(f"column {column.name!r} changed: {_shown(was)} -> {_shown(column)}")
    if old.key != new.key:
        found.append(f"key changed: ({', '.join(old.key)}) -> ({', '.join(new.key)})")
    return tuple(found)


def settle(found: Schema, previous: Schema | None, *, declared: Collection[str]) -> Schema:
    """The schema a cycle is run under: the scan's, with the previous order of columns.

    Where nobody declares a column's type (it is not among `declared`) a pinned type that holds every value of the found
    one stays: a column whose page happens to be all null, or all whole numbers, has not changed.
    """
    if previous is None:
        return found
    by_name = {column.name: column for column in found.columns}
    kept = [name for name in previous.names if name in by_name]
    ordered = [*kept, *(name for name in found.names if name not in previous.types)]
    columns = []
    for name in ordered:
        column = by_name[name]
        pinned = previous.types.get(name)
        if name not in declared and pinned is not None and holds(pinned, column.type):
            column = Column(name=name, type=pinned, declared=column.declared)
        columns.append(column)
    return replace(found, columns=tuple(columns))


def holds(wide: LogicalType, narrow: LogicalType) -> bool:
    """Whether every value of `narrow` is a value of `wide`, or is likely to fit (ints in floats are checked later)."""
    if wide == narrow or narrow.kind == "null":
        return True
    if wide.kind == "int" and narrow.kind == "int":
        return (wide.bits or 64) >= (narrow.bits or 64)
    if wide.kind == "float":
        return narrow.kind == "int" or (narrow.kind == "float" and (wide.bits or 64) >= (narrow.bits or 64))
    if wide.kind == "decimal":
        return _decimal_holds(wide, narrow)
    if wide.kind in ("time", "duration", "timestamp") and wide.kind == narrow.kind and wide.zone == narrow.zone:
        return wide.unit == "ns"
    return wide.kind == "json" and narrow.kind != "bytes"


def _decimal_holds(wide: LogicalType, narrow: LogicalType) -> bool:
    if wide.precision is None or wide.scale is None:
        return narrow.kind in ("int", "decimal")
    whole = wide.precision - wide.scale
    if narrow.kind == "int":
        return whole >= 19
    if narrow.kind != "decimal" or narrow.precision is None or narrow.scale is None:
        return False
    return wide.scale >= narrow.scale and whole >= narrow.precision - narrow.scale


def _shown(column: Column) -> str:
    return f"{column.type} ({column.declared})" if column.declared else str(column.type)
