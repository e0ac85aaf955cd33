"""Parquet parts: immutable files of rows, read by location, one row group at a time.

Pages carry checksums, and a part's whole hash is verified before its first row is served, because by default Parquet
readers hand out flipped bits as data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from differ.errors import CorruptionError
from differ.snapshots.manifest import Part
from differ.storage import StoredFile, verify
from differ.storage.files import CHECK_HINT, HashedFile

ROW_GROUP_ROWS = 1 << 17
ROW_GROUP_BYTES = 64 << 20
PART_BYTES = 512 << 20
OPEN_FILES = 32
"""How many parts a reader keeps open at most; a snapshot may have hundreds."""


class PartWriter:
    """Writes rows of one schema to `folder/<stem>-00000.parquet` and on; a new file past PART_BYTES.

    Use as a context manager; files that were not handed out by `finish` are removed again.
    """

    def __init__(self, folder: Path, stem: str, schema: pa.Schema, *, first_number: int = 0) -> None:
        self._folder, self._stem, self._schema = folder, stem, schema
        self._first_number = first_number
        self._files: list[tuple[HashedFile, int]] = []
        self._writer: pq.ParquetWriter | None = None
        self._file: HashedFile | None = None
        self._file_rows = 0
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; their order is kept. Raises StorageError.

        A row group stays near ROW_GROUP_BYTES, so that each of its columns is one Arrow array when it is read.
        """
        if not batch.num_rows:
            return
        if batch.nbytes > ROW_GROUP_BYTES and batch.num_rows > 1:
            half = batch.num_rows // 2
            self.write(batch.slice(0, half))
            self.write(batch.slice(half))
            return
        if self._pending_bytes + batch.nbytes > 2 * ROW_GROUP_BYTES:
            self._flush()
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def finish(self, root: Path, *, allow_none: bool = True) -> list[StoredFile]:
        """Close everything durably; `allow_none=False` makes one empty file when there were no rows."""
        self._flush()
        if self._writer is None and not self._files and not allow_none:
            self._open()
        self._close_file()
        stored = [file.commit(root=root, rows=rows) for file, rows in self._files]
        self._files.clear()
        return stored

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            self._open()
        table = pa.Table.from_batches(self._pending, schema=self._schema)
        assert self._writer is not None  # noqa: S101
        assert self._file is not None  # noqa: S101
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._file_rows += table.num_rows
        self._pending.clear()
        self._pending_rows = self._pending_bytes = 0
        if self._file.bytes_written > PART_BYTES:
            self._close_file()

    def _open(self) -> None:
        self._file = HashedFile(self._folder / f"{self._stem}-{self._first_number + len(self._files):05d}.parquet")
        self._file_rows = 0
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"),
            self._schema,
            compression="zstd",
            compression_level=1,
            write_page_checksum=True,
            store_schema=True,
        )

    def _close_file(self) -> None:
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._files.append((self._file, self._file_rows))
            self._writer = self._file = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file, _ in self._files:
            file.abandon()
        if self._file is not None:
            self._file.abandon()


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

    def take(
        self, locations: np.ndarray[Any, np.dtype[np.int64]], *, columns: Sequence[str] | None = None
    ) -> pa.RecordBatch:
        """The rows at these locations, which must ascend; only the row groups they lie in are decoded, once each."""
        schema = self._schema if columns is None else pa.schema([self._schema.field(name) for name in columns])
        pieces: list[pa.RecordBatch] = []
        for number, part in enumerate(self._parts):
            start, stop = np.searchsorted(locations, [part.first_row, part.end_row])
            if stop > start:
                pieces.extend(self._take_part(number, locations[start:stop] - part.first_row, schema))
        return pa.concat_batches(pieces) if pieces else pa.RecordBatch.from_pylist([], schema=schema)

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

    def _take_part(
        self, number: int, rows: np.ndarray[Any, np.dtype[np.int64]], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        file = self._file(number)
        first = 0
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            start, stop = np.searchsorted(rows, [first, first + count])
            if stop > start:
                yield self._read_group(file, group, schema).take(pa.array(rows[start:stop] - first))
            first += count

    def _read_group(self, file: pq.ParquetFile, group: int, schema: pa.Schema) -> pa.RecordBatch:
        try:
            table = file.read_row_group(group, columns=schema.names)
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
            if number not in self._verified:
                self._verified[number] = verify(self._root, self._parts[number].file, self._what)
            path = self._verified[number]
            while len(self._open) >= OPEN_FILES:
                del self._open[next(iter(self._open))]  # closed when whoever reads it now lets go
            try:
                self._open[number] = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
            except (pa.ArrowInvalid, OSError) as error:
                raise CorruptionError(f"read {self._what}: {path}: {error}", hint=CHECK_HINT) from error
        return self._open[number]

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()
