"""Physical variants to storage: the one array that a column of a logical type is held in.

Dictionaries and views are decoded, widths are widened, units are made finer; nothing is rounded, cut or wrapped.

Invariant: a value that storage cannot hold exactly is an error, never another value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from differ.errors import RecordError
from differ.records.arrow import is_list
from differ.records.json_values import json_text_canonical
from differ.records.types import LogicalType
from differ.records.views import fixed_values, flags

_DAY_MILLIS = 86_400_000
_NO_MOMENT = -(2**63)


def to_storage(array: pa.Array, type_: LogicalType) -> pa.Array:
    """The array in `type_.storage`, where `type_` is the array's own logical type (`from_arrow_type`).

    Vectorised but for JSON text, which is parsed. Raises RecordError for an overflow, a date64 that is no whole day,
    invalid UTF-8, text that is no JSON.
    """
    try:
        return _stored(array, type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowCapacityError) as error:
        raise RecordError(f"a value does not fit {type_}: {error}") from None


def kept_dictionary(array: pa.Array, type_: LogicalType) -> pa.DictionaryArray | None:
    """The array, checked, where it is a text column that may stay dictionary-encoded until its rows are stored.

    Its values are hashed and compared from the dictionary. Raises RecordError for invalid UTF-8.
    """
    if not isinstance(array, pa.DictionaryArray) or array.type != pa.dictionary(pa.int32(), type_.storage):
        return None
    if type_.kind not in ("string", "bytes") or array.dictionary.null_count:
        return None
    if type_.kind == "string":
        _text(array.dictionary)
    array.indices.validate(full=True)
    top = pc.max(array.indices).as_py()
    if top is not None and not 0 <= pc.min(array.indices).as_py() <= top < len(array.dictionary):
        raise RecordError(f"index {top} of a dictionary of {len(array.dictionary)} values", hint="mend the iterator")
    return array


def batch_of(arrays: Sequence[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """A batch of this schema, whose text columns may be dictionary-encoded."""
    fields = [
        field.with_type(array.type) if isinstance(array, pa.DictionaryArray) else field
        for array, field in zip(arrays, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def spelled_out(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in exactly this schema, where only dictionary-encoded columns may differ from it."""
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    arrays = [
        array.cast(field.type) if isinstance(array, pa.DictionaryArray) else array
        for array, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _stored(array: pa.Array, type_: LogicalType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        return _of_extension(array, type_)
    if pt.is_dictionary(array.type):
        return _stored(array.dictionary_decode(), type_)
    if pt.is_run_end_encoded(array.type):
        return _stored(pc.run_end_decode(array), type_)
    match type_.kind:
        case "string":
            return _text(array)
        case "decimal":
            return _decimal(array, type_)
        case "float" if pt.is_float16(array.type):
            return array.cast(pa.float32()).cast(pa.float64())
        case "date" if pt.is_date64(array.type):
            return _days(array)
        case "list" | "map" | "struct":
            return _nested(array, type_)
        case "timestamp" | "duration":
            return _moments(array.cast(type_.storage))
        case _:
            return array if array.type == type_.storage else array.cast(type_.storage)


def _moments(array: pa.Array) -> pa.Array:
    if pc.min(array.view(pa.int64())).as_py() == _NO_MOMENT:
        raise RecordError(
            "a value is the lowest of 64 bits, by which NumPy and pandas mean no time at all",
            hint="give null for what is not known",
        )
    return array


def _of_extension(array: pa.ExtensionArray, type_: LogicalType) -> pa.Array:
    if type_.kind != "json":
        return _stored(array.storage, type_)
    texts = _text(array.storage).to_pylist()
    return pa.array([None if text is None else json_text_canonical(text) for text in texts], pa.string())


def _text(array: pa.Array) -> pa.StringArray:
    texts = array if array.type == pa.string() else array.cast(pa.string())
    try:
        texts.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise RecordError(
            f"a text is not valid UTF-8: {error}", hint="read the column as bytes, or mend its encoding at the source"
        ) from None
    return texts


def _decimal(array: pa.Array, type_: LogicalType) -> pa.Array:
    if type_.precision is None:
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    if pt.is_decimal128(array.type) and pt.is_decimal128(type_.storage) and array.type.scale == type_.storage.scale:
        # The same 128 bits under more digits: nothing to check, nothing to copy.
        return pa.Array.from_buffers(type_.storage, len(array), array.buffers(), array.null_count, array.offset)
    if pt.is_decimal(array.type) and array.type.scale < 0:
        # Arrow cannot rescale a negative scale exactly in its own width: widen first.
        array = array.cast(pa.decimal256(76, array.type.scale)).cast(pa.decimal256(76, type_.scale))
    if pt.is_decimal32(array.type) or pt.is_decimal64(array.type):
        array = array.cast(pa.decimal128(38, array.type.scale))
    elif pt.is_integer(array.type):
        array = array.cast(pa.decimal128(20, 0))
    return array.cast(type_.storage)


def _days(array: pa.Array) -> pa.Array:
    millis = array.view(pa.int64())
    rest = fixed_values(pc.fill_null(millis, 0)) % _DAY_MILLIS
    if rest.any():
        raise RecordError(
            "a date64 value is no whole day", hint="read the column as a timestamp, or cast it to a date in the query"
        )
    return array.cast(pa.date32())


def _nested(array: pa.Array, type_: LogicalType) -> pa.Array:
    if len(array) == 0:
        return pa.array([], type_.storage)
    mask = array.is_null() if array.null_count else None
    if type_.kind == "struct":
        children = [
            _stored(child, child_type) for (_, child_type), child in zip(type_.children, array.flatten(), strict=True)
        ]
        return pa.StructArray.from_arrays(children, fields=list(type_.storage), mask=mask)
    if type_.kind == "map":
        compact = array.filter(array.is_valid()) if mask is not None else array
        first, last = (compact.offsets[0].as_py(), compact.offsets[-1].as_py()) if len(compact) else (0, 0)
        keys = _stored(compact.keys.slice(first, last - first), type_.children[0][1])
        items = _stored(compact.items.slice(first, last - first), type_.children[1][1])
        lengths = np.zeros(len(array), np.int64)
        lengths[flags(array.is_valid())] = np.diff(fixed_values(compact.offsets)) if len(compact) else 0
        return pa.MapArray.from_arrays(_offsets(lengths), keys, items, type=type_.storage, mask=mask)
    if not is_list(array.type):
        raise RecordError(f"Arrow type {array.type} is no list")
    items = _stored(array.flatten(), type_.children[0][1])
    lengths = fixed_values(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)
    return pa.ListArray.from_arrays(_offsets(lengths), items, type=type_.storage, mask=mask)


def _offsets(lengths: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Int32Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64()).cast(pa.int32())
