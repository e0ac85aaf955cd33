"""Arrow IPC files, written once and read by memory map.

IPC has no checksum of its own: whoever refers to a file holds its hash (`StoredFile.hash`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from differ.errors import CorruptionError
from differ.storage.files import CHECK_HINT, HashedFile, StoredFile


class IpcWriter:
    """Appends record batches of one schema to a new Arrow IPC file.

    compression: None (what is read by memory map at random), or "lz4". Use as a context manager; without `finish` the
    file is removed again.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, compression: str | None = None) -> None:
        self.schema = schema
        self.rows = 0
        self._file = HashedFile(path)
        options = pa.ipc.IpcWriteOptions(compression=compression)
        self._writer = pa.ipc.new_file(pa.PythonFile(self._file, mode="w"), schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; raises StorageError."""
        if batch.num_rows:
            self._writer.write_batch(batch)
            self.rows += batch.num_rows

    def finish(self, root: Path) -> StoredFile:
        """Close the file durably and return its record."""
        self._writer.close()
        return self._file.commit(root=root, rows=self.rows)

    def abandon(self) -> None:
        """Remove what was written; does nothing after `finish`."""
        if not self._file.closed:
            self._file.abandon()

    def __enter__(self) -> IpcWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()


def open_ipc(path: Path, what: str) -> pa.ipc.RecordBatchFileReader:
    """A reader over the memory-mapped file; raises CorruptionError when it is missing or not Arrow IPC."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptionError(f"read {what}: {path}: {error}", hint=CHECK_HINT) from error


def record_batches(path: Path, what: str) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a file; raises CorruptionError."""
    reader = open_ipc(path, what)
    for number in range(reader.num_record_batches):
        try:
            batch = reader.get_batch(number)
        except (pa.ArrowException, OSError) as error:
            raise CorruptionError(f"read {what}: {path}: {error}", hint=CHECK_HINT) from error
        yield batch
