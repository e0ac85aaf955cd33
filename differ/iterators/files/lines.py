"""JSON Lines as rows: one column for each name at the top of any object, its type found in one exact first pass.

    only true and false                 bool
    only ints                           int, or decimal text where one is beyond 64 bits
    numbers                             float where every one is exactly a double, else decimal text
    only strings                        string
    objects, arrays, or kinds mixed     json
    nothing but null                    string

A line that lacks a name has null there (`document: true` is what tells missing from null). The first pass is left
out where `types` names every one of the configured `columns`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from differ.errors import SourceError
from differ.iterators.contract import Batch, Context
from differ.iterators.files.delimited import WholeFile
from differ.iterators.files.json_text import bad_line, exact_number, objects, unique
from differ.iterators.files.place import Place
from differ.iterators.files.typed import MisfitError, of_json
from differ.records.types import (
    BOOL,
    DECIMAL_TEXT,
    FLOAT,
    INT,
    JSON,
    STRING,
    Column,
    LogicalType,
    Schema,
)  # fmt: skip

_FLOAT_WHOLE_MAX = 2**53
Row = dict[str, Any]


class Lines:
    """Reads JSON Lines files as rows."""

    key: tuple[str, ...] = ()

    def __init__(
        self, places: Sequence[Place], ctx: Context, columns: tuple[str, ...], types: dict[str, LogicalType]
    ) -> None:
        self._places, self._ctx, self._wanted, self._types = places, ctx, columns, types
        self._schema: Schema | None = None

    def schema(self) -> Schema:
        """The columns with their types, in the order in which the names first came; the first call may read all."""
        if self._schema is None:
            types = {name: type_ for name, type_ in self._types.items() if name in self._wanted}
            if not self._wanted or len(types) < len(self._wanted):
                types = self._find_types()
            names = self._ctx.keep(self._wanted or types)
            self._check(names, types)
            columns = tuple(Column(name=name, type=types[name]) for name in names)
            self._schema = Schema(columns=columns, key=self._ctx.key)
        return self._schema

    def splits(self) -> Sequence[WholeFile]:
        """One a file."""
        return [WholeFile(place=place) for place in self._places]

    def read(self, split: WholeFile) -> Iterator[Batch]:
        """The rows of one file. Raises RecordError naming file and line for a value that is not of its type."""
        schema = self.schema()
        rows: list[Row] = []
        lines: list[int] = []
        for line, row in self._objects(split.place):
            rows.append(row)
            lines.append(line)
            if len(rows) == self._ctx.batch_rows:
                yield _batch(rows, lines, schema, split.place)
                rows.clear()
                lines.clear()
        if rows:
            yield _batch(rows, lines, schema, split.place)

    def _objects(self, place: Place) -> Iterator[tuple[int, Row]]:
        for line, row in objects(place, unique, exact_number):
            if line % 1024 == 0:
                self._ctx.check_cancelled()
            yield line, row

    def _find_types(self) -> dict[str, LogicalType]:
        seen: dict[str, set[str]] = {}
        for place in self._places:
            for _, row in self._objects(place):
                for name, value in row.items():
                    kinds = seen.get(name)
                    if kinds is None:
                        kinds = seen[name] = set()
                    kinds.add(_kind(value))
        return {name: _type_of(kinds) for name, kinds in seen.items()} | self._types

    def _check(self, names: list[str], types: dict[str, LogicalType]) -> None:
        for name in names:
            if name not in types:
                near = difflib.get_close_matches(name, types, n=1) or list(types)[:12]
                raise SourceError(
                    f"read {self._places[0].name}: no line has {name!r}", hint=f"there is: {', '.join(near)}"
                )
        if not names:
            raise SourceError(
                f"read {self._places[0].name}: there is no line to tell the columns",
                hint="set `columns` and `types`, so that an empty file is an empty source",
            )


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int" if abs(value) <= _FLOAT_WHOLE_MAX else "long" if -(2**63) <= value < 2**63 else "huge"
        case float():
            return "float"
        case Decimal():
            return "decimal"
        case str():
            return "string"
        case _:
            return "json"


def _type_of(kinds: set[str]) -> LogicalType:
    kinds = kinds - {"null"}
    if kinds <= {"string"}:
        return STRING
    if kinds == {"bool"}:
        return BOOL
    if kinds <= {"int", "long"}:
        return INT
    if kinds <= {"int", "float"}:
        return FLOAT
    return DECIMAL_TEXT if kinds <= {"int", "long", "huge", "float", "decimal"} else JSON


def _batch(rows: list[Row], lines: list[int], schema: Schema, place: Place) -> pa.RecordBatch:
    arrays = []
    for column in schema.columns:
        try:
            arrays.append(of_json([row.get(column.name) for row in rows], column.type))
        except MisfitError as error:
            cause = f"the value of {column.name!r} is no {column.type}{error.cause}"
            raise bad_line(place, lines[error.index], cause) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)
