"""Rows put aside in numbered buckets, one Arrow file a bucket, to be read back bucket by bucket.

What is spilled is thrown away with its folder, so nothing here is synced. Source: the partitions of Grace hash join.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from differ.storage.files import storage_errors


class Buckets:
    """Files `<folder>/<stem>-<bucket>.arrows` of one schema: first write, then `close`, then read.

    Raises StorageError when the disk is full or fails.
    """

    def __init__(self, folder: Path, stem: str, schema: pa.Schema) -> None:
        self._folder, self._stem, self._schema = folder, stem, schema
        self._files: dict[int, tuple[pa.OSFile, pa.ipc.RecordBatchStreamWriter]] = {}

    def __bool__(self) -> bool:
        return bool(self._files)

    @property
    def numbers(self) -> list[int]:
        """The buckets that hold something, ascending."""
        return sorted(self._files)

    def write(self, bucket: int, batch: pa.RecordBatch) -> None:
        """Append rows to a bucket."""
        path = self._path(bucket)
        with storage_errors("write", path):
            if bucket not in self._files:
                path.touch(mode=0o600)  # Arrow would make it as the umask says
                file = pa.OSFile(str(path), mode="wb")
                self._files[bucket] = (file, pa.ipc.new_stream(file, self._schema))
            self._files[bucket][1].write_batch(batch)

    def close(self) -> None:
        """End writing."""
        for bucket, (file, writer) in self._files.items():
            with storage_errors("write", self._path(bucket)):
                writer.close()
                file.close()

    def read(self, bucket: int) -> list[pa.RecordBatch]:
        """The rows of a bucket in the order they were written, memory-mapped."""
        if bucket not in self._files:
            return []
        path = self._path(bucket)
        with storage_errors("read", path), pa.ipc.open_stream(pa.memory_map(str(path))) as reader:
            return list(reader)

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{self._stem}-{bucket:02d}.arrows"
