"""Canonical row bytes: two records are the same record exactly when these bytes are equal.

    header, of one width for the schema                                  | variable bytes, in name order
    null bitmap | per column in name order: value, or u32 length | ...   | string | bytes | ...

The bitmap has one bit a column, least significant first, in name order. Little-endian throughout. The value bytes
of a null are zero and its length is 0, but its bit is set, so null is not empty; lengths stand before all texts, so
("a","bc") is not ("ab","c").
docs/formats/canonical-bytes.md has the table per type and vectors.

Everything is made column by column: the headers of a batch are one NumPy record array that becomes one Arrow binary
array, the variable columns are joined behind it. Only nested values are encoded in Python.

Invariant: the bytes depend on the logical values and `layout` alone: not on batch size, row order, column order or
the physical type that brought them. Source: RocksDB's and FoundationDB's idea of an encoding as the equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from differ.errors import RecordError
from differ.records.decimals import normal_texts
from differ.records.nested import nested_texts
from differ.records.types import LogicalType, Schema
from differ.records.views import flags

ENCODER_VERSION = 1
"""Raised by whatever changes the bytes of any value; stored fingerprints carry it."""

_BYTES_MAX = 2**31 - 1
_NAN = np.uint64(0x7FF8000000000000)
_WIDTHS = {"bool": 1, "int": 8, "float": 8, "date": 4, "time": 8, "duration": 8, "timestamp": 8, "uuid": 16}


def layout(schema: Schema, names: Sequence[str]) -> dict[str, Any]:
    """What the canonical bytes of these columns depend on, as JSON: hashes are comparable while it is equal."""
    types = schema.types
    return {"encoder": ENCODER_VERSION, "columns": [[name, types[name].layout] for name in sorted(names)]}


def row_bytes(batch: pa.RecordBatch, schema: Schema, names: Sequence[str]) -> pa.BinaryArray | pa.ChunkedArray:
    """The canonical bytes of each row over the columns `names`, whose order does not matter.

    batch: storage-typed by `schema`. Returns N binaries without nulls; chunked where they pass Arrow's 2 GiB an array.
    Raises RecordError for a row beyond 2 GiB. O(bytes), vectorised but for list, map and struct columns.
    """
    rows = batch.num_rows
    columns = [(name, schema.types[name], batch.column(name)) for name in sorted(names)]
    header, variable = _encode_columns(columns, rows)
    width = header.dtype.itemsize
    if rows * width + sum(column.nbytes for column in variable) <= _BYTES_MAX:
        return _join(header, variable)
    lengths = np.full(rows, width, np.int64)
    for column in variable:
        lengths += _lengths(column)
    ends = _chunk_ends(lengths)
    starts = [0, *ends[:-1]]
    chunks = [
        _join(header[start:end], [column.slice(start, end - start) for column in variable])
        for start, end in zip(starts, ends, strict=True)
    ]
    return pa.chunked_array(chunks, pa.binary())


def _encode_columns(
    columns: Sequence[tuple[str, LogicalType, pa.Array]], rows: int
) -> tuple[npt.NDArray[Any], list[pa.Array]]:
    fields: list[Any] = [("nulls", np.uint8, ((len(columns) + 7) // 8,))] if columns else []
    for index, (_, type_, _array) in enumerate(columns):
        width = fixed_width(type_)
        if width != 0:
            fields.append((str(index), _field_format(type_, width)))
    header = np.empty(rows, np.dtype(fields)) if fields else np.empty(rows, "V0")
    if columns:
        header["nulls"] = 0
    variable: list[pa.Array] = []
    for index, (_, type_, array) in enumerate(columns):
        nulls = None
        if array.null_count:
            nulls = flags(pc.is_null(array))
            header["nulls"][:, index // 8] |= nulls.astype(np.uint8) << (index % 8)
        width = fixed_width(type_)
        if width is None:
            column = variable_bytes(array, type_)
            variable.append(column)
            values: Any = _lengths(column)
        elif width:
            values = _fixed(array, type_, width)
        else:
            continue
        header[str(index)] = values
        if nulls is not None:
            header[str(index)][nulls] = np.zeros((), header.dtype[str(index)])
    return header, variable


def fixed_width(type_: LogicalType) -> int | None:
    """Bytes of a value in the header; 0 for a null column, None for a variable-length type."""
    if type_.kind == "decimal" and type_.precision is not None:
        return 16 if type_.precision <= 38 else 32
    return 0 if type_.kind == "null" else _WIDTHS.get(type_.kind)


def _field_format(type_: LogicalType, width: int | None) -> str:
    if width is None:
        return "<u4"
    return {1: "u1", 4: "<i4", 8: "<u8" if type_.kind == "float" else "<i8"}.get(width, f"V{width}")


def _fixed(array: pa.Array, type_: LogicalType, width: int) -> npt.NDArray[Any]:
    """The values of a fixed-width array as NumPy; what stands at nulls is undefined."""
    if len(array) == 0:
        return np.empty(0, _field_format(type_, width))
    if type_.kind == "bool":
        bits = np.frombuffer(array.buffers()[1], np.uint8)
        return np.unpackbits(bits, bitorder="little")[array.offset : array.offset + len(array)]
    values = np.frombuffer(
        array.buffers()[1], _field_format(type_, width), count=len(array), offset=array.offset * width
    )
    if type_.kind != "float":
        return values
    doubles = values.view("<f8") + 0.0  # makes -0.0 into 0.0
    return np.where(np.isnan(doubles), _NAN, doubles.view("<u8"))


def variable_bytes(array: pa.Array, type_: LogicalType) -> pa.BinaryArray:
    """The values of a variable-length column as the bytes that enter; nulls stay null."""
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    if type_.kind == "decimal":
        array = normal_texts(array)
    elif type_.kind in ("list", "map", "struct"):
        array = nested_texts(array, type_)
    return array if array.type == pa.binary() else array.cast(pa.binary())


def _lengths(array: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """The byte lengths of a binary array; 0 or more at nulls."""
    if len(array) == 0:
        return np.empty(0, np.int32)
    offsets = np.frombuffer(array.buffers()[1], np.int32, count=len(array) + 1, offset=array.offset * 4)
    return np.diff(offsets)


def _join(header: npt.NDArray[Any], variable: list[pa.Array]) -> pa.BinaryArray:
    rows, width = len(header), header.dtype.itemsize
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    data = pa.py_buffer(np.ascontiguousarray(header).view(np.uint8)) if rows and width else pa.py_buffer(b"")
    heads = pa.BinaryArray.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets.astype(np.int32)), data])
    if not variable:
        return heads
    return pc.binary_join_element_wise(
        heads, *variable, pa.scalar(b"", pa.binary()), null_handling="replace", null_replacement=b""
    )


def _chunk_ends(lengths: npt.NDArray[np.int64]) -> list[int]:
    """Where to cut rows of these lengths so that each run stays under Arrow's limit."""
    totals = np.cumsum(lengths)
    ends: list[int] = []
    taken = 0
    while not ends or ends[-1] < len(lengths):
        end = int(np.searchsorted(totals, taken + _BYTES_MAX, side="right"))
        if end == (ends[-1] if ends else 0):
            raise RecordError(f"row {end} of the batch is larger than 2 GiB", hint="exclude its largest column")
        ends.append(end)
        taken = int(totals[end - 1])
    return ends
