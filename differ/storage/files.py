"""Local files that are whole or absent: temp name, write, fsync, rename, fsync the folder.

Files are immutable once they have their name, and named uniquely, so a reader that starts from the catalog never sees
half a file, and what a crash leaves behind is swept because nothing refers to it.

Source: restic's local backend; Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import xxhash

from differ.errors import CorruptionError, DifferError, StorageError
from differ.storage import seam

TEMPORARY_SUFFIX = ".tmp"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A finished file: path relative to its root, size in bytes, xxh3_128 of its content in hex, rows it holds."""

    path: str
    bytes: int
    hash: str
    rows: int

    def to_json(self) -> dict[str, Any]:
        """The manifest's form; `from_json` reads it back."""
        return {"path": self.path, "bytes": self.bytes, "hash": self.hash, "rows": self.rows}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> StoredFile:
        """Read what `to_json` wrote."""
        return cls(path=body["path"], bytes=body["bytes"], hash=body["hash"], rows=body["rows"])


class HashedFile:
    """A binary file being written under a temporary name, hashed as it grows.

    Only appends: writers of Parquet and Arrow IPC never seek back. `commit` gives it its name, `abandon` removes it;
    both may be called once. replaces: the name is no new one, and whoever died while writing it left a temporary file.
    """

    def __init__(self, path: Path, *, replaces: bool = False) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
        self._hash = xxhash.xxh3_128()
        self._bytes = 0
        self._abandoned = False
        with storage_errors("create", path):
            if replaces:
                remove_file(self._temporary)
            seam.at("file.create", self._temporary)
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file: IO[bytes] = os.fdopen(descriptor, "wb", buffering=_BLOCK_BYTES)

    @property
    def bytes_written(self) -> int:
        """How much was written so far."""
        return self._bytes

    def write(self, data: Any) -> int:
        """Append `data` (any buffer). Raises StorageError."""
        if self._abandoned:  # A Parquet writer that is collected ends its file, which nobody wants any more.
            return memoryview(data).nbytes
        with storage_errors("write", self.path):
            view = memoryview(data).cast("B")
            seam.at("file.write", self._temporary, data=view)
            self._file.write(view)
            self._hash.update(view)
            self._bytes += view.nbytes
            return view.nbytes

    def tell(self) -> int:
        """The position, which is always the end."""
        return self._bytes

    def flush(self) -> None:
        """Hand buffered bytes to the system."""
        if self._abandoned:
            return
        with storage_errors("write", self.path):
            self._file.flush()

    def close(self) -> None:
        """Do nothing: the Arrow writers close what they write to, and `commit` must come after them."""

    @property
    def closed(self) -> bool:
        """Whether the file was committed or abandoned."""
        return self._file.closed

    def readable(self) -> bool:
        """Never."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Never."""
        return False

    def commit(self, *, root: Path, rows: int = 0) -> StoredFile:
        """Sync, check the size, rename, sync the folder; return what the manifest says of the file.

        Where that fails the file is abandoned: a second sync may succeed without what the first one lost.
        """
        try:
            with storage_errors("write", self.path):
                sync_file(self._file, self._temporary)
                size = os.fstat(self._file.fileno()).st_size
                self._file.close()
                if size != self._bytes:
                    raise StorageError(f"write {self.path}: {self._bytes} bytes were written, {size} arrived")
                rename(self._temporary, self.path)
        except BaseException:
            self.abandon()
            raise
        relative = self.path.relative_to(root).as_posix()
        return StoredFile(path=relative, bytes=self._bytes, hash=self._hash.hexdigest(), rows=rows)

    def abandon(self) -> None:
        """Close and remove the temporary file, if it is still there; what is written from now on goes nowhere."""
        self._abandoned = True
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            seam.at("file.remove", self._temporary)
            self._temporary.unlink(missing_ok=True)


@contextmanager
def create(path: Path, *, replaces: bool = False) -> Iterator[HashedFile]:
    """Give a file to write; the caller commits it, and whatever was not committed is removed."""
    file = HashedFile(path, replaces=replaces)
    try:
        yield file
    finally:
        if not file.closed:
            file.abandon()


def ensure_folder(path: Path) -> Path:
    """Make the folder (mode 0700) and its parents durable; idempotent.

    A folder that holds something was durable before that came into it. One that is there and empty may be what a
    process left that died before it was; one whose name could not be made durable is removed again, for a sync that
    failed once may seem to succeed the next time.
    """
    with storage_errors("create folder", path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        lowest = missing[-1].parent if missing else path
        if _is_empty(lowest):
            sync_folder(lowest.parent)
        for folder in reversed(missing):
            seam.at("folder.create", folder)
            folder.mkdir(mode=0o700, exist_ok=True)
            try:
                sync_folder(folder.parent)
            except OSError:
                with suppress(OSError):
                    seam.at("folder.remove", folder)
                    folder.rmdir()
                raise
    return path


def _is_empty(folder: Path) -> bool:
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except PermissionError:  # It is not one of ours.
        return False


def sync_file(file: IO[bytes], path: Path) -> None:
    """Make what was written to an open file durable; one whose sync failed is never to be trusted again."""
    file.flush()
    seam.at("file.fsync", path)
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    seam.at("folder.fsync", path)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(path: Path, to: Path) -> None:
    """Give a file or folder another name, durably; it has one of the two at any time. Raises OSError."""
    seam.at("file.rename", path, to=to)
    os.rename(path, to)
    sync_folder(to.parent)
    if to.parent != path.parent:
        sync_folder(path.parent)


def cut(file: IO[bytes], path: Path, size: int) -> None:
    """Cut an open file to a size, durably. Raises OSError."""
    file.flush()
    seam.at("file.cut", path, size=size)
    file.truncate(size)
    sync_file(file, path)


def file_hash(path: Path) -> tuple[int, str]:
    """Size in bytes and xxh3_128 in hex of a file, read once in blocks."""
    digest = xxhash.xxh3_128()
    size = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def verify(root: Path, file: StoredFile, what: str) -> Path:
    """The path of a stored file whose size and hash are as recorded; raises CorruptionError. Reads it all."""
    path = check_size(root, file, what)
    _, digest = file_hash(path)
    if digest != file.hash:
        raise CorruptionError(f"read {what}: checksum mismatch in {path}", hint=CHECK_HINT)
    return path


def check_size(root: Path, file: StoredFile, what: str) -> Path:
    """The path of a stored file that is there with the recorded size; raises CorruptionError."""
    path = root / file.path
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise CorruptionError(f"read {what}: {path} is missing", hint=CHECK_HINT) from None
    if size != file.bytes:
        raise CorruptionError(f"read {what}: {path} has {size} bytes, not {file.bytes}", hint=CHECK_HINT)
    return path


def remove_file(path: Path) -> int:
    """Remove a file if it is there and return the bytes it held."""
    with storage_errors("remove", path):
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        seam.at("file.remove", path)
        path.unlink(missing_ok=True)
        return size


def remove_tree(path: Path) -> int:
    """Remove a folder and all in it if it is there and return the bytes it held."""
    with storage_errors("remove", path):
        if not path.exists():
            return 0
        size = sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
        seam.at("folder.remove", path)
        shutil.rmtree(path)
    return size


CHECK_HINT = "run 'differ check --read-data' to see what is damaged, then 'differ repair'"
_HINTS = {
    errno.ENOSPC: "the disk is full: free some space ('differ gc' sweeps what nothing refers to) and run it again",
    errno.EDQUOT: "the disk quota is used up: free some space and run it again",
    errno.EACCES: "give this user write access to the project's folders",
    errno.EMFILE: "too many files are open: if the iterator leaves them open, mend it; otherwise raise 'ulimit -n'",
    errno.EROFS: "the file system is mounted read-only",
    errno.EIO: "the device reported an input/output error: check the disk before the next run",
}


@contextmanager
def storage_errors(operation: str, path: Path | str) -> Iterator[None]:
    """Turn an OSError inside into a StorageError that names operation and path."""
    try:
        yield
    except DifferError:
        raise
    except OSError as error:
        cause = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "look at the path and run it again")
        raise StorageError(f"{operation} {path}: {cause}", hint=hint) from error
