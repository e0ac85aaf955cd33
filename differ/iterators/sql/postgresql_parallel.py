"""PostgreSQL's rows by COPY on several connections at once, each with a part of the table's pages.

    the scan's connection:   exports its snapshot, stays open and reads nothing meanwhile
    connection 1..n:         SET TRANSACTION SNAPSHOT .. ; COPY the rows of these pages ---> one bounded queue

All see what the scan's connection sees. A row that is visible in it has one place (ctid) that does not change,
and the last part has no end, so the parts neither overlap nor miss. The scan's connection has described the table and
so holds a lock on it: nobody can rewrite or truncate it between two connections.

Each connection is opened, used and closed in a thread of its own. One that fails ends the scan with its error.
Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION ; pg_dump -j.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from differ.iterators.sql.postgresql_copy import Block, Copy

PUT_SECONDS = 0.2
Settle = Callable[[sa.Connection, str], None]
_SHAPE = sa.text("""
SELECT c.relkind IN ('r', 'm') AND a.amname = 'heap',
       pg_relation_size(c.oid) / current_setting('block_size')::bigint
FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE c.oid = CAST(:name AS regclass)
""")


class _StoppedError(Exception):
    """Raised in a fetching thread when nobody waits for it any more."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """The end of a thread, by an error or None."""

    error: BaseException | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelCopy:
    """Reads one table by COPY on as many connections as there are `parts` (conditions on ctid).

    settle: makes a new connection's transaction one of the exported snapshot's.
    """

    copy: Copy
    parts: Sequence[str]
    settle: Settle
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """What `--explain` tells."""
        return f"COPY TO STDOUT on {len(self.parts)} connections, parsed by Arrow"

    @property
    def helpers(self) -> int:
        """As many as there are connections."""
        return len(self.parts)

    def blocks(self, rows_max: int, check: Callable[[], None]) -> Generator[Block, None, None]:
        """Blocks of all parts as they come; memory is two blocks a connection."""
        exported = str(self.copy.connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
        fetched: queue.Queue[Block | _Ended] = queue.Queue(len(self.parts))
        threads = [
            threading.Thread(
                target=self._fetch, args=(part, exported, rows_max, check, fetched), name="differ-copy", daemon=True
            )
            for part in self.parts
        ]
        for thread in threads:
            thread.start()
        try:
            left = len(threads)
            while left:
                item = _next(fetched, check)
                if not isinstance(item, _Ended):
                    yield item
                elif item.error is not None:
                    raise item.error
                else:
                    left -= 1
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def arrays(self, block: Block) -> Any:
        """As of one connection."""
        return self.copy.arrays(block)

    def cells(self, block: Block) -> Any:
        """As of one connection."""
        return self.copy.cells(block)

    def abandon(self) -> None:
        """Let all the threads stop; each cuts its own connection."""
        self._stopped.set()

    def _fetch(
        self,
        part: str,
        exported: str,
        rows_max: int,
        check: Callable[[], None],
        fetched: queue.Queue[Block | _Ended],
    ) -> None:
        def checked() -> None:
            if self._stopped.is_set():
                raise _StoppedError
            check()

        def put(item: Block | _Ended) -> None:
            while True:
                checked()
                with contextlib.suppress(queue.Full):
                    fetched.put(item, timeout=PUT_SECONDS)
                    return

        with contextlib.suppress(_StoppedError):
            try:
                with self.copy.connection.engine.connect() as connection:
                    try:
                        self.settle(connection, exported)
                        for block in self.copy.on(connection, part).blocks(rows_max, checked):
                            put(block)
                    except BaseException:
                        connection.invalidate()
                        raise
            except _StoppedError:
                raise
            except BaseException as error:  # whatever it is, the scan must hear of it
                put(_Ended(error))
                return
            put(_Ended(None))


def parts_of(connection: sa.Connection, name: str, wanted: int) -> list[str] | str:
    """Conditions on ctid that part a table's pages, at most `wanted`; or why it cannot be parted."""
    if (connection.dialect.server_version_info or (0,)) < (14,):
        return "before PostgreSQL 14 each connection would read the whole table"
    is_heap, pages = connection.execute(_SHAPE, {"name": name}).one()
    if not is_heap:
        return "only a plain table or materialised view has pages of its own"
    step = max(1, -(-int(pages) // wanted))
    starts = list(range(0, max(1, int(pages)), step))
    conditions = [f"ctid >= '({start},0)' AND ctid < '({start + step},0)'" for start in starts[:-1]]
    return [*conditions, f"ctid >= '({starts[-1]},0)'"]


def _next(fetched: queue.Queue[Block | _Ended], check: Callable[[], None]) -> Block | _Ended:
    while True:
        check()
        with contextlib.suppress(queue.Empty):
            return fetched.get(timeout=PUT_SECONDS)
