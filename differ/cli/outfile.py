"""A file that a command writes for its user: it appears whole under its name, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from differ.errors import UsageError
from differ.storage.files import storage_errors, sync_folder


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a temporary file beside `path`, which is renamed to it when the block ends well and is removed otherwise.

    The mode is what the user's umask gives. Raises UsageError for a folder, StorageError for what the disk refuses.
    """
    if path.is_dir():
        raise UsageError(f"write {path}: it is a folder", hint="name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"write {path}: there is no folder {path.parent}", hint="make it first")
    with storage_errors("write", path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            sync_folder(path.absolute().parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
