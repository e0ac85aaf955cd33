"""Change events in Avro object containers: one source and one schema each, as the schema stands at the head.

Values go from Arrow's integers to Avro's without passing through datetime, so nanoseconds stay; the rows
are then encoded by fastavro in blocks. About as fast as Python allows, and far slower than Arrow: prefer
Arrow for volume.

Invariant: what fastavro and Apache's own reader read back equals the columns that were written.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc

from differ.formats.avro_schema import avro_names, event_schema, is_avro_decimal
from differ.formats.batch import EventBatch
from differ.formats.images import ROWS, Row, rows
from differ.formats.runs import one_run
from differ.model import OPS
from differ.records.types import LogicalType, Schema

Codec = Literal["null", "deflate", "bzip2", "xz"]
_RAW_INTEGERS = {"date": pa.int32(), "time": pa.int64(), "duration": pa.int64(), "timestamp": pa.int64()}


def write_avro(batches: Iterable[EventBatch], out: BinaryIO, codec: Codec = "deflate") -> int:
    """Write one object container and return how many events it holds; without a batch nothing is written.

    Raises UsageError where the source or the schema changes; the container is then closed and holds what
    came before. Memory is one batch's columns and some thousand rows.
    """
    run = one_run(batches, "avro")
    first = next(run, None)
    if first is None:
        return 0
    container = AvroContainer(out, first, codec)
    return sum(container.write(batch) for batch in chain([first], run))


class AvroContainer:
    """One object container that grows batch by batch; what was written is whole at any time.

    first: says source and schemas; it is not written. All batches must be of its run (see `runs`).
    """

    def __init__(self, out: BinaryIO, first: EventBatch, codec: Codec = "deflate") -> None:
        from fastavro import parse_schema
        from fastavro.write import Writer

        schema = event_schema(first.source, first.schema, first.before_schema, first.key_schema)
        self._writer = Writer(out, parse_schema(schema), codec=codec, metadata=_metadata(first))

    def write(self, batch: EventBatch) -> int:
        """Append a batch and return how many events it holds; a reader that follows sees it at once."""
        count = 0
        try:
            for record in avro_records(batch):
                self._writer.write(record)
                count += 1
        finally:
            self._writer.flush()
        return count


def avro_records(batch: EventBatch) -> Iterator[Row]:
    """Yield each event as the value that `event_schema` describes; times and dates are already integers."""
    seen = batch.seen_unchanged_at
    window = {"first": batch.window.first, "last": batch.window.last}
    for part in batch.chunks(ROWS):
        images = zip(
            part.scns,
            part.events.column("op").to_pylist(),
            part.events.column("changed").to_pylist(),
            _avro_rows(part.images("key"), part.key_schema),
            _avro_rows(part.images("before"), part.before_schema),
            _avro_rows(part.images("after"), part.schema),
            strict=True,
        )
        for scn, code, changed, key, before, after in images:
            yield {
                "stream": batch.stream,
                "scn": scn,
                "source": batch.source,
                "op": OPS[code],
                "key": key,
                "before": before,
                "after": after,
                "changed": changed,
                "cycle": batch.cycle,
                "window": window,
                "schema": batch.schema_id,
                "seen_unchanged_at": seen,
                "detected_at": batch.detected_at,
                "baseline": batch.baseline,
            }


def _avro_rows(structs: pa.StructArray, schema: Schema) -> list[Row | None]:
    names = list(avro_names(schema.names).values())
    return [
        None if row is None else dict(zip(names, row.values(), strict=True))
        for row in rows(structs, schema, avro_column)
    ]


def avro_column(array: pa.Array, type_: LogicalType) -> list[Any]:
    """A column's values as fastavro takes them for `avro_type`; nested ones column by column as well."""
    match type_.kind:
        case "date" | "time" | "duration" | "timestamp":
            return _pylist(array.cast(_RAW_INTEGERS[type_.kind]))
        case "uuid":
            return _each(array, lambda value: str(uuid.UUID(bytes=value)))
        case "decimal" if type_.precision is not None and not is_avro_decimal(type_):
            return _each(array, lambda value: format(value, "f"))
        case "list":
            return _lists(array, avro_column(array.flatten(), type_.children[0][1]))
        case "map":
            return _maps(array, type_)
        case "struct":
            return list(_structs(array, type_))
        case _:
            return _pylist(array)


def _lists(array: pa.ListArray, values: list[Any]) -> list[list[Any] | None]:
    """Cut the flat values of all lists into the lists; a null list has no values."""
    items = iter(values)
    return [None if length is None else list(islice(items, length)) for length in _pylist(pc.list_value_length(array))]


def _maps(array: pa.MapArray, type_: LogicalType) -> list[Any]:
    (_, key), (_, inner) = type_.children
    pair = pa.struct([pa.field("key", key.storage, nullable=False), pa.field("value", inner.storage)])
    lists = array.cast(pa.list_(pair))
    keys, items = lists.flatten().flatten()
    entries = _lists(lists, list(zip(avro_column(keys, key), avro_column(items, inner), strict=True)))
    if key.kind == "string":
        return [None if entry is None else dict(entry) for entry in entries]
    return [None if entry is None else [{"key": k, "value": v} for k, v in entry] for entry in entries]


def _structs(array: pa.StructArray, type_: LogicalType) -> Iterator[Row | None]:
    names = list(avro_names(name for name, _ in type_.children).values())
    columns = [
        avro_column(child, child_type) for child, (_, child_type) in zip(array.flatten(), type_.children, strict=True)
    ]
    for valid, *values in zip(_pylist(array.is_valid()), *columns, strict=True):
        yield dict(zip(names, values, strict=True)) if valid else None


def _each(array: pa.Array, step: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else step(value) for value in _pylist(array)]


def _pylist(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _metadata(batch: EventBatch) -> dict[str, str]:
    return {
        "differ.stream": batch.stream,
        "differ.source": json.dumps(batch.source),
        "differ.schema": str(batch.schema_id),
    }
