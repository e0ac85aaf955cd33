"""Notice that the head moved, also when another process committed, and tell whoever waits.

One thread for all: SQLite's `PRAGMA data_version` says in ten microseconds that somebody committed, so it is asked
every 10 ms; a PostgreSQL catalog is asked for its head every 100 ms. Only after a change is the head read.

Invariants: `head` never goes back while the thread runs; a subscriber is told every value that `head` takes, from the
watcher's thread. A catalog that cannot be read is an `error` until it can be read again; one that was replaced under us
is an error until the process starts anew. Never is it a stream that is merely silent.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from differ.catalog import Catalog
from differ.errors import DifferError, RelayUnavailableError, StorageError

log = logging.getLogger(__name__)

SQLITE_SECONDS = 0.01
SERVER_SECONDS = 0.1
RETRY_SECONDS = 1.0
FILE_POLLS = 100
"""After how many polls it is looked whether the catalog's file is still the same one."""

Callback = Callable[[int], None]


class HeadWatcher:
    """Watches one catalog's head from `start` to `stop`; once stopped it does not start again."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._callbacks: list[Callback] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="differ-head", daemon=True)
        self.head = 0
        self.error: DifferError | None = None

    def start(self) -> None:
        """Read the head, then watch it in a thread. Raises what reading the catalog raises."""
        self.head = self._catalog.stream().head_scn
        self._thread.start()

    def stop(self) -> None:
        """End the thread; idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_over(self) -> bool:
        """Whether the thread ended by itself: `error` says why, and only a new watcher helps."""
        return self.error is not None and not self._thread.is_alive()

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Call `callback` with the head whenever it moves, from the watcher's thread; the returned function ends it."""
        self._callbacks.append(callback)

        def end() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return end

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with closing(_signs(self._catalog)) as signs:
                    self._watch(signs)
            except _ReplacedError as error:
                self._fail(error)
                return
            except (DifferError, sqlite3.Error, OSError) as cause:
                self._fail(cause)
                self._stopping.wait(RETRY_SECONDS)

    def _watch(self, signs: _Signs) -> None:
        while True:
            if signs.changed():
                self._look()
            if self._stopping.wait(signs.seconds):
                return

    def _look(self) -> None:
        head = self._catalog.stream().head_scn
        self.error = None
        if head < self.head:
            raise _ReplacedError(f"the head went back from SCN {self.head} to {head}")
        if head > self.head:
            self.head = head
            for callback in list(self._callbacks):
                callback(head)

    def _fail(self, cause: Exception) -> None:
        error = cause if isinstance(cause, DifferError) else StorageError(f"watch catalog: {cause}")
        if self.error is None:
            log.error("watch catalog: %s", error)
        self.error = error


class _ReplacedError(RelayUnavailableError):
    """Another catalog was put in the place of the one that is open."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"watch catalog: {cause}", hint="start 'differ run' again, so that everything is read anew")


class _Signs(Protocol):
    """Whether the catalog may have changed since it was last asked."""

    seconds: float

    def changed(self) -> bool: ...

    def close(self) -> None: ...


def _signs(catalog: Catalog) -> _Signs:
    url = catalog.engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        return _SqliteSigns(Path(url.database))
    return _ServerSigns()


class _ServerSigns:
    """A catalog on a server is asked each time."""

    seconds = SERVER_SECONDS

    def changed(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


class _SqliteSigns:
    """A connection of its own, that never writes: its data_version changes with every commit of anybody else."""

    seconds = SQLITE_SECONDS

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._file = self._path.stat().st_ino
        self._connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        self._version: int | None = None
        self._polls = 0

    def changed(self) -> bool:
        self._polls += 1
        if self._polls % FILE_POLLS == 0 and self._path.stat().st_ino != self._file:
            raise _ReplacedError(f"{self._path} is another file now")
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                return False  # somebody commits just now
            raise
        before, self._version = self._version, version
        return bool(before != version)

    def close(self) -> None:
        self._connection.close()
