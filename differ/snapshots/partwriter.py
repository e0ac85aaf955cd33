"""Writes Parquet parts: immutable files of rows in row groups of bounded size, with checksums in their pages.

A column is dictionary-encoded where its first row group says that values repeat: then it is smaller, and reading the
few rows that changed spells out no others. Where they do not, looking for a dictionary would cost and gain nothing.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from differ.executors.writebehind import WriteBehind
from differ.storage import StoredFile
from differ.storage.files import HashedFile

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROW_GROUP_ROWS = 1 << 17
ROW_GROUP_BYTES = 64 << 20
PART_BYTES = 512 << 20
DICTIONARY_SHARE = 0.3
"""A column is dictionary-encoded where at most this share of the values of a row group are different ones."""
SAMPLE_ROWS, SAMPLE_SHARE = 1 << 14, 0.9
"""Where more than this share of so many rows are different values, a whole row group is far beyond DICTIONARY_SHARE."""


class PartWriter:
    """Writes rows of one schema to `folder/<stem>-00000.parquet` and on; a new file past PART_BYTES.

    Whole row groups are encoded in a thread of the writer's own, two of them waiting at most, while the caller makes
    the next. Use as a context manager; files that were not handed out by `finish` are removed again.
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
        self._behind = WriteBehind(f"differ-write-{stem}")
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
        self._behind.wait()
        self._write_group(self._taken())
        if self._writer is None and not self._files and not allow_none:
            self._open([])
        self._close_file()
        stored = [file.commit(root=root, rows=rows) for file, rows in self._files]
        self._files.clear()
        return stored

    def _flush(self) -> None:
        group = self._taken()
        self._behind.put(lambda: self._write_group(group))

    def _taken(self) -> list[pa.RecordBatch]:
        group, self._pending = self._pending, []
        self._pending_rows = self._pending_bytes = 0
        return group

    def _write_group(self, group: list[pa.RecordBatch]) -> None:
        if not group:
            return
        if self._writer is None:
            self._open(group)
        table = pa.Table.from_batches(group, schema=self._schema)
        assert self._writer is not None  # noqa: S101
        assert self._file is not None  # noqa: S101
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._file_rows += table.num_rows
        if self._file.bytes_written > PART_BYTES:
            self._close_file()

    def _open(self, group: list[pa.RecordBatch]) -> None:
        import pyarrow.parquet as pq  # A scan that finds no change writes no part.

        self._file = HashedFile(self._folder / f"{self._stem}-{self._first_number + len(self._files):05d}.parquet")
        self._file_rows = 0
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"),
            self._schema,
            compression="lz4",
            use_dictionary=_repeating(group),
            write_statistics=[field.name for field in self._schema if not _is_text(field.type)],
            write_page_checksum=True,
            store_schema=True,
            store_decimal_as_integer=True,
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
        self._behind.close()
        for file, _ in self._files:
            file.abandon()
        if self._file is not None:
            self._file.abandon()


def _is_text(type_: pa.DataType) -> bool:
    """Whether finding the least and greatest value would cost more than it ever saves a reader."""
    return bool(pa.types.is_string(type_) or pa.types.is_binary(type_) or pa.types.is_nested(type_))


def _repeating(batches: list[pa.RecordBatch]) -> list[str]:
    """The columns whose values repeat so much in these rows that a dictionary pays."""
    if not batches:
        return []
    table = pa.Table.from_batches(batches)
    found = []
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if pa.types.is_nested(column.type) or pa.types.is_null(column.type) or pa.types.is_boolean(column.type):
            continue
        sample = column.slice(0, SAMPLE_ROWS)
        if pc.count_distinct(sample).as_py() > SAMPLE_SHARE * len(sample) and len(sample) < table.num_rows:
            continue  # Nearly all differ already in a few: counting all of them would cost as much as encoding them.
        if pc.count_distinct(column).as_py() <= DICTIONARY_SHARE * table.num_rows:
            found.append(name)
    return found
