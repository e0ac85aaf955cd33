"""Texts and JSON values as columns of a type that was configured or found.

Arrow converts whole columns; only one that it refuses is converted value by value, to know which value is wrong.
Invariant: a value that is not exactly of the type is told by its index, never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from differ.errors import RecordError
from differ.records.cells import array_of
from differ.records.json_values import canonical_text, json_text_canonical
from differ.records.parse import parse_texts
from differ.records.types import LogicalType


class MisfitError(Exception):
    """The value at `index` is not of the type; caught where the line it is on is known.

    cause: nothing, or why with ": " before it.
    """

    def __init__(self, index: int, cause: str = "") -> None:
        super().__init__(index)
        self.index = index
        self.cause = f": {cause}" if cause else ""


def of_texts(texts: pa.Array, type_: LogicalType) -> pa.Array:
    """The storage of the texts as values of the type; nulls stay. Raises MisfitError."""
    if type_.kind == "string":
        return texts
    if type_.kind == "json":
        return _one_by_one(texts.to_pylist(), json_text_canonical)
    if type_.kind in ("int", "float", "bool", "date", "timestamp"):
        try:
            return texts.cast(f"int{type_.bits}" if type_.kind == "int" else type_.storage).cast(type_.storage)
        except pa.ArrowInvalid:
            pass  # Not all are in Arrow's form: the parser knows more forms, and which of them is wrong.
    array, wrong = parse_texts(texts, type_)
    if wrong.any():
        raise MisfitError(int(wrong.argmax()))
    return array


def of_json(values: Sequence[Any], type_: LogicalType) -> pa.Array:
    """The storage of values that JSON gave. What JSON has no type for (dates, uuids) is given as text.

    Raises MisfitError.
    """
    match type_.kind:
        case "json":
            return _one_by_one(values, lambda value: canonical_text(value, sort_all=True))
        case "date" | "time" | "timestamp" | "duration" | "uuid" | "decimal":
            return of_texts(_one_by_one(values, lambda value: _text(value, type_.kind == "decimal")), type_)
        case _:
            if _all_of(values, type_):
                try:
                    return array_of(values, type_)
                except (pa.ArrowException, RecordError, TypeError, ValueError, OverflowError):
                    pass  # One of them is wrong: which one?
            for index, value in enumerate(values):
                if not _fits(value, type_):
                    raise MisfitError(index)
            raise MisfitError(0)


_CLASSES: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "string": (str,)}


def _all_of(values: Sequence[Any], type_: LogicalType) -> bool:
    allowed = _CLASSES.get(type_.kind)
    return allowed is None or all(type(value) in allowed for value in values if value is not None)


def _fits(value: Any, type_: LogicalType) -> bool:
    try:
        return _all_of([value], type_) and len(array_of([value], type_)) == 1
    except (pa.ArrowException, RecordError, TypeError, ValueError, OverflowError):
        return False


def _text(value: Any, number: bool) -> str:
    """The text of a JSON string, or of a number where one is wanted."""
    if number and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise RecordError("it must be given as text")
    return value


def _one_by_one(values: Sequence[Any], convert: Any) -> pa.Array:
    texts: list[str | None] = []
    for index, value in enumerate(values):
        try:
            texts.append(None if value is None else convert(value))
        except RecordError as error:
            raise MisfitError(index, error.message) from None
    return pa.array(texts, pa.string())
