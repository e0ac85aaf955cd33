"""The database's text -> Arrow, a column at a time and without the GIL where Arrow has a kernel.

Every parser takes an array of strings and gives one of the column's storage type. Invariant: a text that has no exact
place in the type raises ArrowException, ValueError or RecordError; nulls stay nulls.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from differ.records.types import LogicalType
from differ.records.views import fixed_values

_CLOCK = r"^(?P<sign>-?)(?P<hours>[0-9]+):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9]{2})(?:\.(?P<micros>[0-9]{1,6}))?$"
_HYPHENS = (8, 13, 18, 23)
_UUID_CHARACTERS = 36
_NO_DIGIT = 255
_NIBBLES = np.full(256, _NO_DIGIT, np.uint8)
_NIBBLES[[*b"0123456789abcdef"]] = range(16)
_NIBBLES[[*b"ABCDEF"]] = range(10, 16)


def parser(type_: LogicalType) -> Callable[[pa.Array], pa.Array]:
    """What parses ISO texts, decimal numbers, JSON documents and UUIDs of this type."""
    storage = type_.storage
    match type_.kind:
        case "string":
            return as_it_is
        case "time":
            return lambda texts: _times(texts, storage)
        case "timestamp" if type_.zone:
            naive = pa.timestamp(type_.unit)
            return lambda texts: texts.cast(naive).cast(storage)
        case "decimal" if type_.precision is None:
            return numbers
        case "json":
            return documents
        case "uuid":
            return uuids
        case "duration":
            return durations
        case _:
            return lambda texts: texts.cast(storage)


def as_it_is(texts: pa.Array) -> pa.Array:
    """For texts that are the value."""
    return texts


def numbers(texts: pa.Array) -> pa.Array:
    """Numbers without a declared scale -> their normal form."""
    from differ.records.decimals import normal_texts

    return normal_texts(texts)


def documents(texts: pa.Array) -> pa.Array:
    """JSON documents -> canonical Extended JSON; a Python call each."""
    from differ.records.json_values import json_text_canonical

    return pa.array([None if text is None else json_text_canonical(text) for text in texts.to_pylist()], pa.string())


def durations(texts: pa.Array) -> pa.Array:
    """Durations as [-]hours:minutes:seconds[.fraction]. Raises ValueError for another form."""
    parts = pc.extract_regex(texts, _CLOCK)
    if parts.null_count != texts.null_count:
        raise ValueError("no duration")
    hours, minutes, seconds = (
        pc.struct_field(parts, name).cast(pa.int64()) for name in ("hours", "minutes", "seconds")
    )
    micros = pc.utf8_rpad(pc.struct_field(parts, "micros"), 6, "0").cast(pa.int64())
    whole = pc.add(pc.multiply(pc.add(pc.multiply(hours, 60), minutes), 60), seconds)
    total = pc.add(pc.multiply(whole, 1_000_000), micros)
    negative = pc.equal(pc.struct_field(parts, "sign"), "-")
    return pc.if_else(negative, pc.negate(total), total).cast(pa.duration("us"))


def bools(texts: pa.Array) -> pa.Array:
    """PostgreSQL's t and f. Raises ValueError for another text."""
    found = pc.index_in(texts, pa.array(["f", "t"]))
    if found.null_count != texts.null_count:
        raise ValueError("no boolean")
    return found.cast(pa.bool_())


def hex_bytes(texts: pa.Array) -> pa.Array:
    """Bytes as PostgreSQL writes them, a backslash and an x before hexadecimal digits. Raises ValueError."""
    filled = pc.fill_null(texts, "\\x")
    if not pc.all(pc.starts_with(filled, "\\x"), min_count=0).as_py():
        raise ValueError("no hexadecimal bytes")
    sizes = fixed_values(pc.binary_length(filled))
    starts = np.cumsum(sizes) - sizes
    # Not by Arrow's binary_slice: it reckons with less memory than some values need ("Negative buffer resize").
    digits = np.delete(_content(filled), np.concatenate([starts, starts + 1]))
    sizes = sizes - 2
    if (sizes % 2).any():
        raise ValueError("no whole bytes")
    offsets = np.zeros(len(texts) + 1, np.int32)
    np.cumsum(sizes // 2, out=offsets[1:])
    return pa.Array.from_buffers(
        pa.binary(), len(texts), [_validity(texts), pa.py_buffer(offsets), pa.py_buffer(_octets(digits))]
    )


def uuids(texts: pa.Array) -> pa.Array:
    """UUIDs in their form of 36 characters -> 16 bytes. Raises ValueError for another form."""
    if not pc.all(pc.equal(pc.binary_length(texts), _UUID_CHARACTERS), skip_nulls=True, min_count=0).as_py():
        raise ValueError("no UUID")
    filled = pc.fill_null(texts, "00000000-0000-0000-0000-000000000000").cast(pa.binary())
    characters = _content(filled).reshape(len(texts), _UUID_CHARACTERS)
    if (characters[:, _HYPHENS] != ord("-")).any():
        raise ValueError("no UUID")
    octets = _octets(np.delete(characters, _HYPHENS, axis=1).reshape(-1))
    return pa.Array.from_buffers(pa.binary(16), len(texts), [_validity(texts), pa.py_buffer(octets)])


def _times(texts: pa.Array, storage: pa.DataType) -> pa.Array:
    # Arrow's cast parses no time of day alone; as the time of some day it does.
    days = pc.binary_join_element_wise("1970-01-01", texts, " ")
    return days.cast(pa.timestamp(storage.unit)).cast(storage)


def _octets(digits: np.ndarray) -> np.ndarray:
    """Pairs of hexadecimal digits -> bytes."""
    nibbles = _NIBBLES[digits]
    if (nibbles == _NO_DIGIT).any():
        raise ValueError("no hexadecimal digit")
    octets: np.ndarray = nibbles[0::2] << 4 | nibbles[1::2]
    return octets


def _content(values: pa.Array) -> np.ndarray:
    """All bytes of a binary array, one value behind the other."""
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return content[bounds[0] : bounds[-1]]


def _validity(values: pa.Array) -> pa.Buffer | None:
    return None if not values.null_count else pc.is_valid(values).buffers()[1]
