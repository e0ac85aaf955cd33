"""Arrow columns as the addresses that the compiled kernels read, and hashing through them.

A column of storage type is already laid out as its canonical bytes are, so no value is touched in Python: only nested
values and decimals without a scale become an Arrow binary column first. Text may be dictionary-encoded; then its
values are hashed from the dictionary, without being spelled out row by row.

Invariant: the hashes are those of `row_bytes`, which stays the definition and the way without the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from differ import kernels
from differ.records.canonical import fixed_width, variable_bytes
from differ.records.types import LogicalType, Schema

Hashes = npt.NDArray[np.uint64]
_BYTES_MAX = 2**31 - 1


def hash_rows(batch: pa.RecordBatch, schema: Schema, names: Sequence[str]) -> tuple[Hashes, Hashes] | None:
    """The halves of xxh3_128 of each row's canonical bytes over the columns `names`.

    None where the kernels cannot say: they are not here, or the batch holds rows that may pass 2 GiB.
    """
    if not kernels.LOADED or not batch.num_rows:
        return None
    columns, kept = [], []
    longest = 0
    for name in sorted(names):
        column, array, most = _column(batch.column(name), schema.types[name])
        columns.append(column)
        kept.append(array)
        longest += most
    if longest > _BYTES_MAX:
        return None
    return kernels.hash_rows(columns, batch.num_rows, longest)


def hash_binary(array: pa.Array) -> tuple[Hashes, Hashes] | None:
    """The halves of xxh3_128 of each value of a binary or string array without nulls; None without the kernels."""
    if not kernels.LOADED or not isinstance(array, pa.BinaryArray | pa.StringArray):
        return None
    data, offsets = _texts(array)
    return kernels.hash_binary(data, offsets, len(array))


def hash64_binary(array: pa.Array) -> Hashes | None:
    """xxh3_64 of each value of a binary or string array without nulls; None without the kernels."""
    if not kernels.LOADED or not isinstance(array, pa.BinaryArray | pa.StringArray):
        return None
    data, offsets = _texts(array)
    return kernels.hash64_binary(data, offsets, len(array))


def _column(array: pa.Array, type_: LogicalType) -> tuple[kernels.Column, pa.Array, int]:
    """The column, the array whose memory it points into, and the most variable bytes that a row of it can take."""
    if isinstance(array, pa.DictionaryArray):
        return _dictionary(array)
    width = fixed_width(type_)
    if width is None:
        return _binary(variable_bytes(array, type_))
    if width == 0:
        return kernels.Column(kind=kernels.NOTHING, width=0), array, 0
    kind = {"bool": kernels.BITS, "float": kernels.FLOAT}.get(type_.kind, kernels.COPY)
    validity, values = array.buffers()[:2]
    column = kernels.Column(
        kind=kind, width=width, offset=array.offset, validity=_address(array, validity), values=values.address
    )
    return column, array, 0


def _binary(array: pa.Array) -> tuple[kernels.Column, pa.Array, int]:
    validity, offsets, values = array.buffers()
    ends = np.frombuffer(offsets, np.int32, count=len(array) + 1, offset=array.offset * 4)
    column = kernels.Column(
        kind=kernels.BINARY,
        width=4,
        offset=array.offset,
        validity=_address(array, validity),
        values=0 if values is None else values.address,
        offsets=offsets.address,
    )
    return column, array, int(ends[-1]) - int(ends[0])


def _dictionary(array: pa.DictionaryArray) -> tuple[kernels.Column, pa.Array, int]:
    values = array.dictionary
    validity, indices = array.indices.buffers()
    if not len(values):  # every index is null
        return kernels.Column(kind=kernels.NOTHING, width=4), array, 0
    inner, _, most = _binary(values)
    # The places in the dictionary start at its own offset, those of the indices at theirs.
    column = kernels.Column(
        kind=kernels.DICTIONARY,
        width=4,
        offset=array.indices.offset,
        validity=_address(array.indices, validity),
        values=inner.values,
        offsets=inner.offsets + 4 * values.offset,
        indices=indices.address,
    )
    return column, array, most


def _texts(array: pa.Array) -> tuple[int, int]:
    _, offsets, data = array.buffers()
    if offsets is None or not len(array):
        return 0, 0
    return 0 if data is None else data.address, offsets.address + 4 * array.offset


def _address(array: pa.Array, validity: Any) -> int:
    return validity.address if validity is not None and array.null_count else 0
