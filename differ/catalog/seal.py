"""A seal over every byte of an SQLite database, so that a flipped bit is noticed before anything is decided by it.

SQLite looks at the structure of the pages that it happens to read, and at no content. The seal is the xxh3_64 of all
pages but for a few numbers of the header. It lies in two of these, which SQLite leaves to applications (`user_version`,
`application_id`), and is written by the transaction that it seals: a crash leaves the old pages under the old seal or
the new under the new. A database that was never sealed is sealed by its next write.

Verified in the first transaction of a process, then in the first one LOOK_SECONDS after the last look; a change that
another program made is noticed like a flipped bit. Freed pages are overwritten with zeros (`secure_delete`), for SQLite
else leaves on disk something other than what the transaction sees.

Cost: the database is read and hashed whole, at each look and at each commit.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path

import xxhash
from sqlalchemy import Connection

from differ.errors import CorruptionError

LOOK_SECONDS = 60.0
_UNSEALED = [(24, 28), (60, 64), (68, 72), (92, 100)]
"""Of the header: the change counter, user_version, application_id, and for which change the version of SQLite is."""


class Seal:
    """Seals one database for all connections of an engine; methods may be called from any thread.

    excuse: asked, when the seal does not hold, whether the damage is known in all detail and found wherever it is read.
    """

    def __init__(self, path: Path, what: str, excuse: Callable[[Connection], bool] | None = None) -> None:
        self._path, self._what, self._excuse = path, what, excuse
        self._looked: float | None = None

    def verify(self, connection: Connection) -> None:
        """At the begin of a transaction: raise CorruptionError when the database is not what was sealed."""
        if self._looked is not None and time.monotonic() < self._looked + LOOK_SECONDS:
            return
        kept = _kept(connection)
        if kept != (0, 0) and kept != self._taken(connection) and not (self._excuse and self._excuse(connection)):
            raise CorruptionError(
                f"read {self._what}: {self._path} is not what was written",
                hint="run 'differ check', and restore the file from a backup",
            )
        self._looked = time.monotonic()

    def forget(self) -> None:
        """Look again in the next transaction."""
        self._looked = None

    def renew(self, connection: Connection) -> None:
        """At the end of a transaction that wrote: seal what it leaves."""
        taken = self._taken(connection)
        if taken != _kept(connection):
            connection.exec_driver_sql(f"PRAGMA user_version = {taken[0]}")
            connection.exec_driver_sql(f"PRAGMA application_id = {taken[1]}")

    def _taken(self, connection: Connection) -> tuple[int, int]:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101
        try:
            pages = memoryview(driver.serialize())
        except sqlite3.Error as error:
            raise CorruptionError(f"read {self._what} {self._path}: {error}", hint="run 'differ check'") from error
        digest, start = xxhash.xxh3_64(), 0
        for begin, end in _UNSEALED:
            digest.update(pages[start:begin])
            start = end
        digest.update(pages[start:])
        high, low = struct.unpack(">ii", digest.digest())
        return (high, low) if (high, low) != (0, 0) else (0, 1)


def _kept(connection: Connection) -> tuple[int, int]:
    high, low = (connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("user_version", "application_id"))
    return int(high or 0), int(low or 0)
