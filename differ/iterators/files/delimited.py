"""CSV files: types as configured or exactly as one first pass over everything shows, then rows in bounded batches.

An empty field is null, a quoted empty one is an empty string. A line with too few or too many fields, a quote that
is never closed, a value that is not of its type: each is an error with file and line, never a value of that line,
since errors are logged and values may be private. Empty lines are skipped. Text is UTF-8.

The first pass is left out where `types` names every column that is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from differ.errors import RecordError, SchemaDriftError, SourceError
from differ.iterators.contract import Batch, Context
from differ.iterators.files.csv_lines import header_names, line_of_row
from differ.iterators.files.csv_parser import Dialect, parse
from differ.iterators.files.place import Place
from differ.iterators.files.texts import TextColumn
from differ.iterators.files.typed import MisfitError, of_texts
from differ.records.types import Column, LogicalType, Schema


@dataclass(frozen=True, kw_only=True)
class WholeFile:
    """One split: one file."""

    place: Place


class Delimited:
    """Reads CSV files of one set of columns."""

    key: tuple[str, ...] = ()

    def __init__(
        self,
        places: Sequence[Place],
        ctx: Context,
        columns: tuple[str, ...],
        types: dict[str, LogicalType],
        dialect: Dialect,
    ) -> None:
        """Read the header lines. Raises SourceError where they do not agree or lack a configured column."""
        self._places, self._ctx, self._types, self._dialect = places, ctx, types, dialect
        found = {place: dialect.names or header_names(place, dialect.delimiter) for place in places}
        first = found[places[0]]
        for place, names in found.items():
            for name in sorted(set(first) ^ set(names)):
                raise SchemaDriftError(
                    f"read {places[0].name} and {place.name}: only one of them has the column {name!r}",
                    hint="write them with one header, or make two sources of them",
                )
        for name in (*columns, *types):
            if name not in first:
                near = difflib.get_close_matches(name, first, n=1) or first[:12]
                raise SourceError(
                    f"read {places[0].name}: there is no column {name!r}", hint=f"there is: {', '.join(near)}"
                )
        self._columns = ctx.keep(columns or first)
        self._schema: Schema | None = None

    def schema(self) -> Schema:
        """The columns with their types; the first call may read all files once."""
        if self._schema is None:
            types = self._types | self._find_types([name for name in self._columns if name not in self._types])
            columns = tuple(Column(name=name, type=types[name]) for name in self._columns)
            self._schema = Schema(columns=columns, key=self._ctx.key)
        return self._schema

    def splits(self) -> Sequence[WholeFile]:
        """One a file."""
        return [WholeFile(place=place) for place in self._places]

    def read(self, split: WholeFile) -> Iterator[Batch]:
        """The rows of one file, typed. Raises RecordError for a value that is not of its type."""
        schema, row = self.schema(), 0
        for texts in self._texts(split.place, self._columns):
            arrays = [self._typed(texts, column, split.place, row) for column in schema.columns]
            row += texts.num_rows
            yield pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)

    def _find_types(self, names: list[str]) -> dict[str, LogicalType]:
        found = {name: TextColumn() for name in names}
        for place in self._places if names else ():
            left = [name for name in names if not found[name].settled]
            for texts in self._texts(place, left or names[:1]):
                for name in left:
                    found[name].feed(texts.column(name))
        return {name: column.type for name, column in found.items()}

    def _texts(self, place: Place, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The file's columns as texts, in batches of at most `batch_rows`."""
        for batch in parse(place, self._dialect, columns):
            for start in range(0, batch.num_rows, self._ctx.batch_rows):
                self._ctx.check_cancelled()
                yield batch.slice(start, self._ctx.batch_rows)

    def _typed(self, texts: pa.RecordBatch, column: Column, place: Place, row: int) -> pa.Array:
        try:
            return of_texts(texts.column(column.name), column.type)
        except MisfitError as error:
            line = line_of_row(place, self._dialect.delimiter, row + error.index + self._dialect.header)
            cause = f"its text is no {column.type}{error.cause}"
        raise RecordError(
            f"read {place.name}: line {line}: column {column.name!r}: {cause}",
            hint="correct the line, or give the column another type under `types`",
        )
