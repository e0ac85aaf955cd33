"""The single writer of a source, ensured by a lock that vanishes with its process.

SQLite catalogs lie on one machine: an OS file lock a source. A PostgreSQL catalog is shared: a session advisory lock.
A crash so blocks nobody. Whoever was frozen and wakes up late is fenced by the epoch, which the commit checks.

Source: Kleppmann, "How to do distributed locking" (fencing tokens); PostgreSQL's advisory locks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from differ.catalog.catalog import Catalog
from differ.catalog.engine import catalog_errors
from differ.errors import BusyError
from differ.storage import ensure_folder
from differ.storage.files import storage_errors

POLL_SECONDS = 0.1


@contextmanager
def source_locks(catalog: Catalog, folder: Path, sources: Sequence[str], *, wait: bool = False) -> Iterator[None]:
    """Hold the locks of these sources, taken in name order so that groups cannot deadlock.

    Raises BusyError at once when one is taken, or with `wait` polls until it is free.
    """
    with ExitStack() as stack:
        if catalog.engine.dialect.name == "postgresql":
            stack.enter_context(_advisory_locks(catalog, sorted(sources), wait))
        else:
            for source in sorted(sources):
                stack.enter_context(_file_lock(folder, source, wait))
        yield


@contextmanager
def _file_lock(folder: Path, source: str, wait: bool) -> Iterator[None]:
    path = ensure_folder(folder) / f"{source}.lock"
    with storage_errors("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    raise _busy(source, f"process {_owner(path)}") from None
                time.sleep(POLL_SECONDS)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _advisory_locks(catalog: Catalog, sources: Sequence[str], wait: bool) -> Iterator[None]:
    """All of them in one session, for a group may have more sources than the engine has connections."""
    with ExitStack() as stack:
        with catalog_errors(catalog.engine):
            plain = stack.enter_context(catalog.engine.connect())
        connection = plain.execution_options(isolation_level="AUTOCOMMIT")
        stack.callback(_unlock, connection)
        with catalog_errors(catalog.engine):
            for source in sources:
                number = _lock_number(source)
                while not connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": number}):
                    if not wait:
                        raise _busy(source, "another session of the catalog")
                    time.sleep(POLL_SECONDS)
        yield


def _unlock(connection: Connection) -> None:
    try:
        connection.execute(text("SELECT pg_advisory_unlock_all()"))
    except SQLAlchemyError:
        connection.invalidate()  # A session that died has let go already.


def _lock_number(source: str) -> int:
    return int.from_bytes(hashlib.sha256(f"differ/{source}".encode()).digest()[:8], "big", signed=True)


def _owner(path: Path) -> str:
    return path.read_text(errors="replace").strip() or "unknown"


def _busy(source: str, owner: str) -> BusyError:
    return BusyError(f"lock source {source}: {owner} holds it", hint="let it end, or wait for it with '--wait'")
