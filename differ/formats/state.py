"""The state of a source as a file: rows as Parquet, CSV or NDJSON, from batches in storage types.

    parquet   columns as they are stored; the field metadata `differ.type` names the logical type
    ndjson    one JSON object a row, values as in events
    csv       RFC 4180 with a header, UTF-8, line feeds. A text is always in quotes, so that NULL (nothing) and an empty
              text ("") differ. Bytes are base64, in quotes; json, list, map and struct are JSON, in quotes; numbers,
              dates and times stand as in NDJSON, without quotes

Invariant: the file holds each row of the batches once, in their order; memory is one batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from differ.formats.images import ROWS
from differ.formats.ndjson import encode_line
from differ.records.plain import json_column
from differ.records.types import LogicalType, Schema

StateWriter = Callable[[Iterable[pa.RecordBatch], Schema, BinaryIO], int]
_UNQUOTED = ("int", "float", "decimal", "bool", "date", "time", "timestamp", "duration", "null")
_NESTED = ("json", "list", "map", "struct")


def json_rows(batch: pa.RecordBatch, schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield each row as a dict of JSON values, columns in the schema's order."""
    for offset in range(0, batch.num_rows, ROWS):
        part = batch.slice(offset, ROWS)
        columns = [json_column(part.column(column.name), column.type) for column in schema.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(schema.names, values, strict=True))


def write_ndjson(batches: Iterable[pa.RecordBatch], schema: Schema, out: BinaryIO) -> int:
    """Write one line a row and return how many."""
    count = 0
    for batch in batches:
        out.writelines(map(encode_line, json_rows(batch, schema)))
        count += batch.num_rows
    return count


def write_csv(batches: Iterable[pa.RecordBatch], schema: Schema, out: BinaryIO) -> int:
    """Write a header and one record a row; return how many rows."""
    out.write(_record(map(_quoted, schema.names)))
    count = 0
    for batch in batches:
        for offset in range(0, batch.num_rows, ROWS):
            part = batch.slice(offset, ROWS)
            columns = [_csv_column(part.column(column.name), column.type) for column in schema.columns]
            out.writelines(map(_record, zip(*columns, strict=True)))
        count += batch.num_rows
    return count


def write_parquet(batches: Iterable[pa.RecordBatch], schema: Schema, out: BinaryIO) -> int:
    """Write one Parquet file, compressed with zstd, and return how many rows."""
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(pa.PythonFile(out, mode="w"), schema.arrow, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


STATE_FORMATS: dict[str, StateWriter] = {"parquet": write_parquet, "csv": write_csv, "ndjson": write_ndjson}


def _csv_column(array: pa.Array, type_: LogicalType) -> list[str]:
    """A column's cells as they stand in the file; "" for null."""
    values = json_column(array, type_)
    show: Callable[[Any], str]
    if type_.kind == "bool":
        show = _bool_text
    elif type_.kind in _UNQUOTED:
        show = str
    elif type_.kind in _NESTED:
        show = _json_text
    else:
        show = _quoted
    # A document may be null itself, which is not the same as having no value; relaxed JSON shows both as None.
    valid = array.is_valid().to_pylist()
    return [show(value) if present else "" for value, present in zip(values, valid, strict=True)]


def _record(cells: Iterable[str]) -> bytes:
    # Half a surrogate pair in a document has no UTF-8; what replaces it is its JSON escape.
    return (",".join(cells) + "\n").encode("utf-8", "backslashreplace")


def _bool_text(value: bool) -> str:
    return "true" if value else "false"


def _json_text(value: Any) -> str:
    return _quoted(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
