"""Whatever an iterator yields, as storage-typed record batches.

A batch is a `pyarrow.RecordBatch` or `Table`, a pandas `DataFrame`, or a list of dicts. Its types are found exactly:
from the Arrow schema, the pandas dtypes or the Python values; a declared type wins, and a value that it cannot hold
exactly is an error. A text declared as json is a JSON string, whatever it looks like: only Arrow's own JSON type holds
JSON text. A text declared as anything else is parsed (see `parse`). What leaves here has `Schema(...).arrow` as its
schema, with the logical types in its metadata.

Invariant: the same records in any of these shapes, under the same declared types, become equal arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from differ.errors import IteratorError, RecordError, SchemaDriftError
from differ.records.arrow import column_of, schema_from_arrow
from differ.records.cells import build, unwrapped
from differ.records.cells import column_of as column_of_values
from differ.records.convert import convert_array
from differ.records.parse import parse_texts
from differ.records.storing import batch_of, kept_dictionary, to_storage
from differ.records.types import JSON, Column, LogicalType, Schema, stored_type
from differ.records.unify import unify

if TYPE_CHECKING:
    import pandas

__all__ = ["fit", "to_arrow", "to_batches", "unify"]

_ARROW_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)


def to_arrow(
    batch: Any, *, source: str, types: Mapping[str, LogicalType], dictionaries: bool = False
) -> pa.RecordBatch:
    """One batch of any accepted shape as a storage-typed record batch of the same rows.

    types: declared logical types of some or all columns. A column that a list of dicts has not is an error there, one
    that is declared and absent is not. Vectorised for Arrow and for pandas' typed columns. dictionaries: whether text
    columns of Arrow may stay dictionary-encoded, the one way in which types may then differ from storage.
    Raises IteratorError for a shape that is no batch (ragged rows, duplicate names), RecordError naming column and row
    for a value without exact form, SchemaDriftError for values of several types in one column.
    """
    if isinstance(batch, pa.RecordBatch | pa.Table):
        return _from_arrow(batch, source, types, dictionaries)
    if type(batch).__module__.partition(".")[0] == "pandas" and hasattr(batch, "columns"):
        return _from_frame(batch, source, types)
    if isinstance(batch, list | tuple):
        return _from_rows(batch, source, types)
    raise IteratorError(
        f"scan {source}: the iterator yielded {type(batch).__name__}, which is no batch",
        hint="yield record batches, tables, data frames or lists of dicts",
    )


def to_batches(
    batch: Any, *, source: str, types: Mapping[str, LogicalType], rows: int = 65_536, dictionaries: bool = False
) -> Iterator[pa.RecordBatch]:
    """The same in pieces of at most `rows`, so that one huge table costs no second copy of itself."""
    count = batch.num_rows if isinstance(batch, pa.RecordBatch | pa.Table) else None
    if count is None:
        count = len(batch) if hasattr(batch, "__len__") else 0
    if count <= rows:
        yield to_arrow(batch, source=source, types=types, dictionaries=dictionaries)
        return
    for start in range(0, count, rows):
        if isinstance(batch, pa.RecordBatch | pa.Table):
            piece = batch.slice(start, rows)
        else:
            piece = batch.iloc[start : start + rows] if hasattr(batch, "iloc") else batch[start : start + rows]
        yield to_arrow(piece, source=source, types=types, dictionaries=dictionaries)


def fit(batch: pa.RecordBatch, schema: Schema, *, source: str) -> pa.RecordBatch:
    """A storage-typed batch brought to exactly `schema.arrow`: its column order and its types. Text columns that come
    dictionary-encoded stay so.

    Raises SchemaDriftError naming the column that is missing, is too many, or holds a value that does not convert.
    """
    if batch.schema.equals(schema.arrow, check_metadata=True):
        return batch
    found = schema_from_arrow(batch.schema)
    _same_names(found.names, schema.names, source)
    arrays = []
    for column in schema.columns:
        old = found.types[column.name]
        array = batch.column(column.name)
        if isinstance(array, pa.DictionaryArray):
            if old == column.type:
                arrays.append(array)
                continue
            array = array.cast(old.storage)
        array, inexact = convert_array(array, old, column.type)
        if inexact.any():
            row = int(inexact.argmax())
            raise SchemaDriftError(
                f"scan {source}: column {column.name!r} changed its schema in mid-scan: row {row} of the batch is"
                f" {old}, not {column.type}",
                hint=f'declare the column\'s type for all batches: @iterator(types={{"{column.name}": "{old}"}})',
            )
        arrays.append(array)
    return batch_of(arrays, schema.arrow) if arrays else batch


def _same_names(found: Sequence[str], expected: Sequence[str], source: str) -> None:
    for name in expected:
        if name not in found:
            raise SchemaDriftError(
                f"scan {source}: the iterator changed its schema in mid-scan: a batch lacks column {name!r}",
                hint="give every batch the same columns; null for what is not known",
            )
    for name in found:
        if name not in expected:
            raise SchemaDriftError(
                f"scan {source}: the iterator changed its schema in mid-scan: a batch has the new column {name!r}",
                hint="give every batch the same columns; null for what is not known",
            )


def _unique_names(names: Sequence[Any], source: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise IteratorError(
                f"scan {source}: a column is named {name!r}, which is no text", hint="name every column by a string"
            )
        if name in seen:
            raise IteratorError(
                f"scan {source}: two columns are named {name!r}", hint="give each column a name of its own"
            )
        seen.add(name)


def _finish(columns: list[tuple[Column, pa.Array]], rows: int) -> pa.RecordBatch:
    schema = Schema(columns=tuple(column for column, _ in columns))
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    return batch_of([array for _, array in columns], schema.arrow)


def _from_arrow(
    batch: pa.RecordBatch | pa.Table, source: str, types: Mapping[str, LogicalType], dictionaries: bool
) -> pa.RecordBatch:
    _unique_names(batch.schema.names, source)
    columns = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        array = column
        if isinstance(column, pa.ChunkedArray):
            array = column.chunk(0) if column.num_chunks == 1 else _one_chunk(column, source, field.name)
        columns.append(_column(array, field, source, types.get(field.name), dictionaries))
    return _finish(columns, batch.num_rows)


def _one_chunk(column: pa.ChunkedArray, source: str, name: str) -> pa.Array:
    try:
        made = column.combine_chunks()
    except pa.ArrowException as error:
        raise RecordError(f"scan {source}: column {name!r}: {error}", hint="yield smaller batches") from None
    return pa.concat_arrays(made.chunks) if isinstance(made, pa.ChunkedArray) else made


def _column(
    array: pa.Array, field: pa.Field, source: str, declared: LogicalType | None, dictionaries: bool = False
) -> tuple[Column, pa.Array]:
    """One Arrow column in storage: of its own type, then of the declared one."""
    try:
        found = column_of(field)
    except RecordError as error:  # which names the column
        raise RecordError(f"scan {source}: {error.message}", hint=error.hint) from None
    try:
        if dictionaries and declared in (None, found.type):
            kept = kept_dictionary(array, found.type)
            if kept is not None:
                return found, kept
        if stored_type(field) is None or array.type != found.type.storage:
            array = to_storage(array, found.type)
    except RecordError as error:
        raise RecordError(f"scan {source}: column {field.name!r}: {error.message}", hint=error.hint) from None
    return _declare(found, array, source, declared)


def _declare(found: Column, array: pa.Array, source: str, declared: LogicalType | None) -> tuple[Column, pa.Array]:
    if declared is None or declared == found.type:
        return found, array
    column = Column(name=found.name, type=declared, declared=found.declared)
    if found.type.kind == "string" and declared.kind not in ("string", "json"):
        converted, inexact = parse_texts(array, declared)
    else:
        converted, inexact = convert_array(array, found.type, declared)
    if inexact.any():
        row = int(inexact.argmax())
        raise RecordError(
            f"scan {source}: column {found.name!r}, row {row} of the batch: the {found.type} value has no exact"
            f" {declared}, which the column is declared as",
            hint="declare another type, or convert the value in the query or plugin",
        )
    return column, converted


def _from_frame(frame: pandas.DataFrame, source: str, types: Mapping[str, LogicalType]) -> pa.RecordBatch:
    if any(name is not None for name in frame.index.names):
        # A named index is data: often the very key.
        if set(frame.index.names) & set(frame.columns):
            raise IteratorError(
                f"scan {source}: the frame's index is named like one of its columns", hint="use reset_index()"
            )
        frame = frame.reset_index()
    _unique_names(list(frame.columns), source)
    columns = []
    for position, name in enumerate(frame.columns):
        series = frame.iloc[:, position]
        if series.dtype == object:
            values = [None if _is_missing(value) else value for value in unwrapped(series.tolist())]
            columns.append(_values_column(values, name, source, types.get(name)))
            continue
        try:
            array = pa.Array.from_pandas(series)
        except _ARROW_ERRORS as error:
            raise RecordError(
                f"scan {source}: column {name!r} of dtype {series.dtype}: {error}", hint="convert it with astype()"
            ) from None
        if isinstance(array, pa.ChunkedArray):
            array = _one_chunk(array, source, name)
        columns.append(_column(array, pa.field(name, array.type), source, types.get(name)))
    return _finish(columns, len(frame))


def _is_missing(value: Any) -> bool:
    """pandas' convention for object columns: a float NaN is null; NA and NaT are seen by `unwrapped`."""
    return isinstance(value, float) and math.isnan(value)


def _from_rows(rows: Sequence[Mapping[str, Any]], source: str, types: Mapping[str, LogicalType]) -> pa.RecordBatch:
    _check_rows(rows, source)
    names = list(rows[0]) if rows else list(types)
    _unique_names(names, source)
    columns = [_values_column([row[name] for row in rows], name, source, types.get(name)) for name in names]
    return _finish(columns, len(rows))


def _check_rows(rows: Sequence[Mapping[str, Any]], source: str) -> None:
    expected = None
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise IteratorError(
                f"scan {source}: row {index} of a batch is {type(row).__name__}, not a dict",
                hint="yield lists of dicts, one dict a row",
            )
        if expected is None:
            expected = row.keys()
        elif row.keys() != expected:
            missing, extra = expected - row.keys(), row.keys() - expected
            what = f"lacks column {min(missing)!r}" if missing else f"has the extra column {min(extra, key=str)!r}"
            raise IteratorError(
                f"scan {source}: row {index} of a batch {what}",
                hint="give every row every column; None for null",
            )


def _values_column(
    values: Sequence[Any], name: str, source: str, declared: LogicalType | None
) -> tuple[Column, pa.Array]:
    if declared == JSON:
        return Column(name=name, type=JSON), build(unwrapped(values), JSON, source=source, column=name)
    array, type_ = column_of_values(values, source=source, column=name)
    if declared is not None and type_ == JSON and declared.kind in ("list", "map", "struct"):
        return Column(name=name, type=declared), build(values, declared, source=source, column=name)
    return _declare(Column(name=name, type=type_), array, source, declared)
