"""Parquet files: types from the footers, rows in bounded batches, checksums of pages verified where they are written.

Files of one source must agree on names and types, whatever their order, width or nullability: int32 here and int64
there is one int64 column, int here and text there is an error that names both files. Memory is a batch and the pages
it comes from, not a file. A large file is read in several splits, cut between row groups.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.parquet as pq

from differ.errors import RecordError, SchemaDriftError, SourceError
from differ.iterators.contract import Batch, Context
from differ.iterators.files.place import Place, reading
from differ.records.arrow import column_of
from differ.records.types import NULL, Column, LogicalType, Schema

SPLIT_BYTES = 256 * 1024 * 1024
"""About how much of a large file one split holds, uncompressed."""

_CODED_BYTES_A_VALUE = 4
"""A text that is spelled out takes its length, in four bytes, and itself; one of a dictionary takes a few bits."""


@dataclass(frozen=True, kw_only=True)
class RowGroups:
    """The row groups `start` to `stop` (left out) of one file."""

    place: Place
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class _Footer:
    place: Place
    schema: pa.Schema = field(compare=False)
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]
    repeating: tuple[str, ...]


class Parquet:
    """Reads Parquet files of one schema."""

    key: tuple[str, ...] = ()

    def __init__(self, places: Sequence[Place], ctx: Context, columns: tuple[str, ...]) -> None:
        """Read all footers. Raises SourceError where a file is no Parquet file or two do not fit together."""
        self._ctx = ctx
        self._footers = [_read_footer(place) for place in places]
        first = self._footers[0]
        names = columns or tuple(first.schema.names)
        for name in columns:
            if name not in first.schema.names:
                near = difflib.get_close_matches(name, first.schema.names, n=1) or first.schema.names[:12]
                raise SourceError(
                    f"read {first.place.name}: there is no column {name!r}", hint=f"there is: {', '.join(near)}"
                )
        self._columns = [self._column(name) for name in ctx.keep(names)]
        if not columns:
            self._check_names()
        ctx.expect_rows(sum(sum(footer.group_rows) for footer in self._footers))

    def schema(self) -> Schema:
        """The columns as the footers declare them, each as wide as its widest file."""
        return Schema(columns=tuple(self._columns), key=self._ctx.key)

    def splits(self) -> Sequence[RowGroups]:
        """One a file, more where a file is larger than SPLIT_BYTES."""
        return [split for footer in self._footers for split in _splits(footer)]

    def read(self, split: RowGroups) -> Iterator[Batch]:
        """The rows of some row groups. Raises SourceError, also where a page's checksum is not right."""
        names = [column.name for column in self._columns]
        footer = next(footer for footer in self._footers if footer.place == split.place)
        with _opened(split.place, [name for name in footer.repeating if name in names]) as file:
            for groups in _portions(file.metadata, split, self._ctx.batch_rows):
                with reading(split.place):
                    batches = iter(file.iter_batches(self._ctx.batch_rows, row_groups=groups, columns=names))
                while (batch := _next(batches, split.place)) is not None:
                    self._ctx.check_cancelled()
                    yield batch.select(names)

    def _column(self, name: str) -> Column:
        widest, where = NULL, self._footers[0]
        for footer in self._footers:
            kind = _type_in(footer, name, where)
            wider = _wider(widest, kind)
            if wider is None:
                raise _disagree(name, where, footer, f"{widest} and {kind}")
            if wider != widest:
                widest, where = wider, footer
        # Without the file's own word: string or large_string, plain or dictionary, is how it was written.
        return Column(name=name, type=widest)

    def _check_names(self) -> None:
        first = self._footers[0]
        for footer in self._footers[1:]:
            for name in footer.schema.names:
                if name not in first.schema.names:
                    raise _disagree(name, first, footer, "only the second has it")


def _type_in(footer: _Footer, name: str, other: _Footer) -> LogicalType:
    if name not in footer.schema.names:
        raise _disagree(name, other, footer, "only the first has it")
    try:
        return column_of(footer.schema.field(name)).type
    except RecordError as error:
        raise RecordError(f"read {footer.place.name}: {error.message}", hint=error.hint) from error


def _disagree(name: str, one: _Footer, other: _Footer, cause: str) -> SchemaDriftError:
    return SchemaDriftError(
        f"read {one.place.name} and {other.place.name}: they do not agree on column {name!r}: {cause}",
        hint="write them with one schema, or make two sources of them; `columns` reads only what they share",
    )


def _wider(one: LogicalType, other: LogicalType) -> LogicalType | None:
    """The type that holds the values of both in one layout, or None; a column without any value fits every type."""
    if one == other or other.kind == "null":
        return one
    if one.kind == "null":
        return other
    if one.layout != other.layout or one.kind not in ("int", "float", "decimal"):
        return None
    return replace(
        one,
        bits=max(one.bits or 0, other.bits or 0) or None,
        precision=None if one.precision is None else max(one.precision, other.precision or 0),
    )


def _read_footer(place: Place) -> _Footer:
    with _opened(place) as file, reading(place):
        schema, metadata = file.schema_arrow, file.metadata
        doubled = {name for name in schema.names if schema.names.count(name) > 1}
        if doubled:
            raise SourceError(f"read {place.name}: it has the column {doubled.pop()!r} twice")
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        return _Footer(
            place=place,
            schema=schema,
            group_rows=tuple(group.num_rows for group in groups),
            group_bytes=tuple(group.total_byte_size for group in groups),
            repeating=_repeating(metadata),
        )


@contextmanager
def _opened(place: Place, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    with place.open_arrow() as raw:
        with reading(place):
            # INT96 in microseconds: in nanoseconds its dates before 1677 and after 2262 wrap around unseen.
            file = pq.ParquetFile(
                raw,
                read_dictionary=list(dictionaries),
                pre_buffer=False,
                page_checksum_verification=True,
                coerce_int96_timestamp_unit="us",
            )
        with file:
            yield file


def _repeating(metadata: pq.FileMetaData) -> tuple[str, ...]:
    """The text columns whose values the file itself says repeat: they are read as its dictionaries, not spelled out.

    Its first row group is taken for all; in one that is written otherwise the reader makes a dictionary, which is
    slower and as exact.
    """
    if not metadata.num_row_groups:
        return ()
    group = metadata.row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    return tuple(
        chunk.path_in_schema
        for chunk in chunks
        if chunk.physical_type == "BYTE_ARRAY"
        and chunk.has_dictionary_page
        and chunk.total_uncompressed_size <= _CODED_BYTES_A_VALUE * chunk.num_values
    )


def _splits(footer: _Footer) -> Iterator[RowGroups]:
    start, size, count = 0, 0, len(footer.group_bytes)
    for index, group_bytes in enumerate(footer.group_bytes):
        size += group_bytes
        if size >= SPLIT_BYTES and index + 1 < count:
            yield RowGroups(place=footer.place, start=start, stop=index + 1)
            start, size = index + 1, 0
    yield RowGroups(place=footer.place, start=start, stop=count)


def _portions(metadata: pq.FileMetaData, split: RowGroups, rows: int) -> Iterator[list[int]]:
    """Row groups a few at a time: enough of them to fill a batch, since a file may have thousands of tiny ones."""
    groups: list[int] = []
    held = 0
    for index in range(split.start, split.stop):
        groups.append(index)
        held += metadata.row_group(index).num_rows
        if held >= rows:
            yield groups
            groups, held = [], 0
    if groups:
        yield groups


def _next(batches: Iterator[pa.RecordBatch], place: Place) -> pa.RecordBatch | None:
    with reading(place):
        return next(batches, None)
