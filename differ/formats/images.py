"""Before images, after images and keys turned from columns into rows, at the last moment.

Events travel as structs of columns. A reader of JSON or of Python objects wants rows: each column is
converted as a whole (the type is looked at once, not once a value), then the converted columns are zipped.

Invariant: row i of the result belongs to event i; a null struct is None, whatever lies below it in the
columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from differ.formats.batch import EventBatch
from differ.records.keytext import json_column, key_column, python_column
from differ.records.types import LogicalType, Schema

ROWS = 4_096
"""How many events are held as Python objects at one time."""

Row = dict[str, Any]
ColumnReader = Callable[[pa.Array, LogicalType], list[Any]]


def json_images(batch: EventBatch) -> Iterator[tuple[Row, Row | None, Row | None]]:
    """Key, before and after of each event as JSON values, in the batch's order; O(ROWS) memory."""
    return _images(batch, json_column, key_column)


def python_images(batch: EventBatch) -> Iterator[tuple[Row, Row | None, Row | None]]:
    """Key, before and after of each event as Python's own values, in the batch's order; O(ROWS) memory."""
    return _images(batch, python_column, python_column)


def state_images(batch: EventBatch) -> Iterator[tuple[Row, Row | None]]:
    """Key and after of each event as Python's own values, for those who keep states; O(ROWS) memory."""
    for part in batch.chunks(ROWS):
        keys = rows(part.images("key"), part.key_schema, python_column)
        yield from zip((key or {} for key in keys), rows(part.images("after"), part.schema, python_column), strict=True)


def rows(structs: pa.StructArray, schema: Schema, read: ColumnReader) -> list[Row | None]:
    """The structs as dicts in the schema's order of columns, None where a struct is null."""
    if structs.null_count == len(structs):
        return [None] * len(structs)
    # flatten() hands a null struct's null down, so that no column reader meets what lies below one.
    columns = dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))
    values = [read(columns[column.name], column.type) for column in schema.columns]
    names = schema.names
    # Names and values come from one schema, so they are as many; zip(strict=True) would take three times as long.
    if not structs.null_count:
        return [dict(zip(names, row)) for row in _zip(values, len(structs))]  # noqa: B905
    valid = structs.is_valid().to_pylist()
    return [
        dict(zip(names, row)) if kept else None  # noqa: B905
        for row, kept in zip(_zip(values, len(structs)), valid, strict=True)
    ]


def _images(
    batch: EventBatch, read: ColumnReader, read_key: ColumnReader
) -> Iterator[tuple[Row, Row | None, Row | None]]:
    for part in batch.chunks(ROWS):
        keys = rows(part.images("key"), part.key_schema, read_key)
        before = rows(part.images("before"), part.before_schema, read)
        after = rows(part.images("after"), part.schema, read)
        yield from zip((key or {} for key in keys), before, after, strict=True)


def _zip(values: list[list[Any]], count: int) -> Iterator[tuple[Any, ...]]:
    return zip(*values, strict=True) if values else iter([()] * count)
