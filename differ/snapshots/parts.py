"""Parquet parts: immutable files of rows, read by location, one row group at a time.

Pages carry checksums, and a part's whole hash is verified before its first row is served, because by default Parquet
readers hand out flipped bits as data.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from differ.errors import CorruptionError
from differ.executors.ahead import ahead
from differ.snapshots.bits import Places
from differ.snapshots.manifest import Part
from differ.storage import verify
from differ.storage.files import CHECK_HINT

if TYPE_CHECKING:
    import pyarrow.parquet as pq

OPEN_FILES = 32
"""How many parts a reader keeps open at most; a snapshot may have hundreds."""
THREADS = 2
"""How many row groups are decoded at once where the rows of many are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A row group: the location of its first row, its rows, and between which values a column lies; None: unknown."""

    first: int
    rows: int
    values: tuple[int, int] | None


class PartReader:
    """Reads the rows of a snapshot's parts by location; a part is verified when it is first opened.

    At most OPEN_FILES stay open; the one opened first is let go for another. One reader belongs to one thread;
    readers of the same parts may share `verified`, so that a part is hashed once and not once a reader.
    """

    def __init__(
        self,
        root: Path,
        parts: Sequence[Part],
        schema: pa.Schema,
        what: str,
        *,
        verified: dict[int, Path] | None = None,
    ) -> None:
        self._root, self._parts, self._schema, self._what = root, parts, schema, what
        self._open: dict[int, pq.ParquetFile] = {}
        self._verified: dict[int, Path] = {} if verified is None else verified

    def take(self, locations: Places, *, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The rows at these locations, which must ascend; only the row groups they lie in are decoded, once each."""
        schema = self._schema if columns is None else pa.schema([self._schema.field(name) for name in columns])
        pieces = [
            self._read_group(self._file(number), group, schema, pa.array(rows))
            for number in self._holding(locations)
            for group, rows in self._touched(number, locations)
        ]
        return pa.concat_batches(pieces) if pieces else pa.RecordBatch.from_pylist([], schema=schema)

    def rows_at(self, locations: Places) -> Iterator[pa.RecordBatch]:
        """The rows at these ascending locations, in their order, a batch for each row group that holds some of them.

        THREADS groups are decoded at once, and one more is held. A part is verified before its first row is given.
        """
        touched = self._holding(locations)
        for number, path in zip(touched, ahead(touched, self._verify, THREADS), strict=True):
            self._verified[number] = path
        of_thread = threading.local()
        wanted = (
            (number, self._file(number).metadata, group, rows)
            for number in touched
            for group, rows in self._touched(number, locations)
        )
        yield from ahead(wanted, lambda found: self._take_apart(of_thread, *found), THREADS)

    def groups(self, *, columns: Sequence[str] | None = None, start: int = 0) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All rows, dead ones too, a row group at a time: (location of the first, rows).

        start: groups that end at or before this location are neither opened nor decoded.
        """
        schema = self._schema if columns is None else pa.schema([self._schema.field(name) for name in columns])
        for number, part in enumerate(self._parts):
            if part.end_row <= start:
                continue
            first = part.first_row
            file = self._file(number)
            for group in range(file.metadata.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if end > start:
                    yield first, self._read_group(file, group, schema)
                first = end

    def group_at(self, first: int, *, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The rows, dead ones too, of the row group that begins at this location."""
        return next(self.groups(columns=columns, start=first))[1]

    def spans(self, column: str) -> list[Span]:
        """Every row group with the least and greatest value of an integer column, as the footers say it. Opens, and so
        verifies, all parts; decodes nothing."""
        found = []
        for number, part in enumerate(self._parts):
            metadata, first = self._file(number).metadata, part.first_row
            for group in range(metadata.num_row_groups):
                meta = metadata.row_group(group)
                found.append(Span(first=first, rows=meta.num_rows, values=_values(meta, column)))
                first += meta.num_rows
        return found

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _holding(self, locations: Places) -> list[int]:
        """The parts that some of the locations lie in."""
        bounds = [np.searchsorted(locations, [part.first_row, part.end_row]) for part in self._parts]
        return [number for number, (start, stop) in enumerate(bounds) if stop > start]

    def _touched(self, number: int, locations: Places) -> Iterator[tuple[int, Places]]:
        """The row groups of a part with the rows to take of each, counted from the group's first."""
        metadata = self._file(number).metadata
        first = self._parts[number].first_row
        for group in range(metadata.num_row_groups):
            end = first + metadata.row_group(group).num_rows
            start, stop = np.searchsorted(locations, [first, end])
            if stop > start:
                yield group, locations[start:stop] - first
            first = end

    def _take_apart(self, held: Any, number: int, metadata: Any, group: int, rows: Places) -> pa.RecordBatch:
        """Some rows of a row group, by a file of the calling thread's own: one file is not read by two at once."""
        if getattr(held, "number", None) != number:
            held.file, held.number = self._opened(number, metadata), number
        return self._read_group(held.file, group, self._schema, pa.array(rows))

    def _read_group(
        self, file: pq.ParquetFile, group: int, schema: pa.Schema, rows: pa.Array | None = None
    ) -> pa.RecordBatch:
        """A row group, or some rows of it."""
        try:
            table = file.read_row_group(group, columns=schema.names, use_threads=rows is None)
            if rows is not None and len(rows) < table.num_rows:
                table = table.take(rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptionError(f"read {self._what}: {error}", hint=CHECK_HINT) from error
        batches = table.combine_chunks().to_batches()
        if len(batches) > 1:
            raise CorruptionError(f"read {self._what}: a row group of {table.nbytes} bytes, more than is ever written")
        columns = batches[0].columns if batches else [pa.array([], type=field.type) for field in schema]
        arrays = [
            array if array.type == field.type else array.cast(field.type)
            for array, field in zip(columns, schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _file(self, number: int) -> pq.ParquetFile:
        if number not in self._open:
            self._verified[number] = self._verify(number)
            while len(self._open) >= OPEN_FILES:
                del self._open[next(iter(self._open))]  # closed when whoever reads it now lets go
            self._open[number] = self._opened(number)
        return self._open[number]

    def _verify(self, number: int) -> Path:
        return self._verified.get(number) or verify(self._root, self._parts[number].file, self._what)

    def _opened(self, number: int, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
        """metadata: given where a few rows are to be taken; then repeating texts stay dictionaries until they are."""
        import pyarrow.parquet as pq  # A scan that finds no change opens no part.

        path = self._verified[number]
        dictionaries = [] if metadata is None else _dictionaries(metadata, self._schema)
        # Where a few rows are taken the whole file was hashed a moment ago: its pages need no second look.
        verify_pages = metadata is None
        try:
            return pq.ParquetFile(
                path,
                metadata=metadata,
                memory_map=True,
                page_checksum_verification=verify_pages,
                read_dictionary=dictionaries,
            )
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptionError(f"read {self._what}: {path}: {error}", hint=CHECK_HINT) from error


def _dictionaries(metadata: pq.FileMetaData, schema: pa.Schema) -> list[str]:
    """The text columns whose first row group is dictionary-encoded."""
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    chunks = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    return [name for name in texts if name in chunks and chunks[name].has_dictionary_page]


def _values(group: Any, column: str) -> tuple[int, int] | None:
    chunks = [group.column(number) for number in range(group.num_columns)]
    named = [chunk for chunk in chunks if chunk.path_in_schema == column]
    # A field of a struct has the path that a column with a dot in its name has.
    statistics = named[0].statistics if len(named) == 1 else None
    if statistics is None or not statistics.has_min_max:
        return None
    return int(statistics.min), int(statistics.max)
