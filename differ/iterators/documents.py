"""Documents as records: the key, the document as one canonical text, and typed columns as a configured projection.

    _id         json     the document's _id
    document    json     the document without _id, canonical Extended JSON v2: top-level names sorted, embedded order
                         kept (it is significant in BSON), a missing field is not null
    <key path>  json     where the source's key is something else than _id
    <column>    typed    the value at a path, exactly, or null where there is none

The `mongodb` iterator and the JSON Lines reader (`document: true`) both make records here, so a collection and its
export give the same ones. Invariant: two documents have equal records exactly when BSON tells no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
import pyarrow as pa
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from differ.errors import RecordError
from differ.records.json_values import canonical_text, inner_text
from differ.records.numbers import exact_number
from differ.records.types import JSON, Column, LogicalType, Schema

ID, DOCUMENT = "_id", "document"
DOCUMENTS_MAX = 8192
"""Documents are wide: a batch of them stays under this count, whatever `batch_rows` allows."""
Document = Mapping[str, Any]
_MISSING = object()
_INT64 = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """A typed column: the value at `path` (names joined by dots) as `type`."""

    name: str
    path: str
    type: LogicalType


class DocumentRecords:
    """Makes record batches of documents; one for each scan."""

    def __init__(self, source: str, key: tuple[str, ...], projected: Sequence[Projected] = ()) -> None:
        names = {column.name for column in projected}
        paths = [Projected(name=path, path=path, type=JSON) for path in key if path not in names | {ID}]
        self._source = source
        self._projected = (*paths, *projected)
        columns = [Column(name=ID, type=JSON), Column(name=DOCUMENT, type=JSON)]
        columns += [Column(name=column.name, type=column.type) for column in self._projected]
        self.schema = Schema(columns=tuple(columns), key=key)

    def batch(self, documents: Sequence[Document]) -> pa.RecordBatch:
        """One row a document. Raises RecordError naming the document's _id for what has no exact form."""
        ids, texts = [], []
        for document in documents:
            if ID not in document:
                raise RecordError(
                    f"scan {self._source}: a document has no _id",
                    hint="let the pipeline give each document a unique _id",
                )
            fields = dict(document)
            ids.append(id_text(fields.pop(ID)))
            try:
                texts.append(canonical_text(fields))
            except RecordError as error:
                raise RecordError(f"scan {self._source}: document {ids[-1]}: {error.message}") from None
        arrays = [pa.array(ids, pa.string()), pa.array(texts, pa.string())]
        arrays += [self._column(column, documents, ids) for column in self._projected]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema.arrow)

    def _column(self, column: Projected, documents: Sequence[Document], ids: Sequence[str]) -> pa.Array:
        convert, path = _CONVERTERS[column.type.kind], column.path.split(".")
        values: list[Any] = []
        for index, document in enumerate(documents):
            value = _value_at(document, path)
            if value is _MISSING or (value is None and column.type != JSON):
                values.append(None)
                continue
            made = convert(value, column.type)
            if made is None:
                raise RecordError(
                    f"scan {self._source}: document {ids[index]}: {column.path!r} {_misfit(value, column.type)}",
                    hint=f"give column {column.name!r} another type, for example json",
                )
            values.append(made)
        return pa.array(values, column.type.storage)


def can_project(type_: LogicalType) -> bool:
    """Whether a typed column may have this type."""
    return type_.kind in _CONVERTERS


def id_text(value: Any) -> str:
    """The canonical text of one value; the order of an embedded document is kept at every level."""
    return inner_text(value)


def _value_at(document: Any, path: Sequence[str]) -> Any:
    """The value at a path, through documents by name and through arrays by position."""
    value = document
    for name in path:
        if isinstance(value, Mapping):
            if name not in value:
                return _MISSING
            value = value[name]
        elif isinstance(value, list):
            if not name.isdecimal() or int(name) >= len(value):
                return _MISSING
            value = value[int(name)]
        else:
            return _MISSING
    return value


def _misfit(value: Any, type_: LogicalType) -> str:
    """Why a value is none of the type, without the value itself."""
    number = _exact(value)
    if number is not None and type_.kind == "decimal" and type_.precision is not None:
        if not Decimal(number).is_finite():
            return f"is not finite, {type_} holds finite numbers"
        _, digits, exponent = Decimal(number).as_tuple()
        significant = "".join(map(str, digits)).rstrip("0")
        shift = int(exponent) + len(digits) - len(significant)
        scale = type_.scale or 0
        if -shift > scale:
            return f"has {_digits(-shift)} after the point, {type_} holds {scale}"
        return f"has {_digits(len(significant) + shift)} before the point, {type_} holds {type_.precision - scale}"
    return f"is {type(value).__name__}, which is not exactly a {type_}"


def _digits(count: int) -> str:
    return "1 digit" if count == 1 else f"{count} digits"


def _exact(value: Any) -> int | Decimal | None:
    """The number that a value is in a column of numbers; None for what is none."""
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, float):
        return Decimal(repr(value))  # In decimals, a double stands for its shortest text, as everywhere.
    return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _number(value: Any, type_: LogicalType) -> Any:
    exact = _exact(value)
    if exact is None:
        return None
    number = exact_number(value if isinstance(value, float) and type_.kind != "decimal" else exact, type_)
    if isinstance(number, int) and not -_INT64 <= number << (64 - (type_.bits or 64)) < _INT64:
        return None
    if isinstance(number, Decimal) and type_.precision and len(number.as_tuple().digits) > type_.precision:
        return None
    return number


def _moment(value: Any, type_: LogicalType) -> Any:
    if not isinstance(value, DatetimeMS) or not type_.zone:
        return None
    ticks = int(value) * (1000 if type_.unit == "us" else 1_000_000)
    return ticks if -_INT64 <= ticks < _INT64 else None


def _day(value: Any, _type: LogicalType) -> Any:
    days, rest = divmod(int(value), 86_400_000) if isinstance(value, DatetimeMS) else (0, 1)
    return days if rest == 0 and abs(days) < 2**31 else None


def _uuid(value: Any, _type: LogicalType) -> Any:
    if isinstance(value, UUID):
        return value.bytes
    return bytes(value) if isinstance(value, bson.Binary) and value.subtype == 4 and len(value) == 16 else None


def _bytes(value: Any, _type: LogicalType) -> Any:
    plain = isinstance(value, bytes) and (not isinstance(value, bson.Binary) or value.subtype == 0)
    return bytes(value) if plain else None


_CONVERTERS: dict[str, Callable[[Any, LogicalType], Any]] = {
    "bool": lambda value, _type: value if isinstance(value, bool) else None,
    "int": _number,
    "float": _number,
    "decimal": _number,
    "string": lambda value, _type: str(value) if type(value) is str else None,
    "bytes": _bytes,
    "uuid": _uuid,
    "date": _day,
    "timestamp": _moment,
    "json": lambda value, _type: id_text(value),
}
