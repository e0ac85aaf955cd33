"""Many small durable writes as few transactions: one thread takes all that wait and commits them together.

A write is done when its future is; a thousand consumers that checkpoint at once cost a few syncs, and a lone one waits
for nobody. Each write is a savepoint of its own, so one that is refused does not touch the others.

Invariant: a future gets its result only after the transaction is durable. Source: group commit (DeWitt et al., 1984).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from differ.errors import UsageError

T = TypeVar("T")
Work = Callable[[Connection], T]

BATCH_WRITES = 1_000
GAP_SECONDS = 0.002
"""The pause between two batches while writes wait: room for other threads and processes to get the write lock."""


class Coalescer:
    """Runs writes of many threads in one thread of its own, which begins with the first of them."""

    def __init__(self, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._writing = writing
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Work[Any], Future[Any]]] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Work[T]) -> Future[T]:
        """Run `work` in the next transaction. It may run in another thread, and again where nothing was committed; what
        it raises is the future's exception, and nothing of it stays."""
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise UsageError("write to the consumers' database: it is closed", hint="open the project again")
            self._waiting.append((work, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="differ-consumers", daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def close(self) -> None:
        """Commit what waits and end the thread; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._commit([(work, future) for work, future in batch if future.set_running_or_notify_cancel()])
            if self._waiting:
                time.sleep(GAP_SECONDS)

    def _take(self) -> list[tuple[Work[Any], Future[Any]]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return [self._waiting.popleft() for _ in range(min(BATCH_WRITES, len(self._waiting)))]

    def _commit(self, batch: list[tuple[Work[Any], Future[Any]]]) -> None:
        refused: dict[int, Exception] = {}
        results: dict[int, Any] = {}
        try:
            with self._writing() as connection:
                for number, (work, _) in enumerate(batch):
                    try:
                        with connection.begin_nested():
                            results[number] = work(connection)
                    except Exception as error:
                        if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
                            # The transaction itself may be broken: nothing of it may be taken for done.
                            raise _first_cause(error) from None
                        refused[number] = error
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for number, (_, future) in enumerate(batch):
            if number in refused:
                future.set_exception(refused[number])
            else:
                future.set_result(results[number])


def _first_cause(error: DBAPIError) -> BaseException:
    """SQLite ends a transaction by itself where the disk is full; that its savepoint is gone then is not the cause."""
    found: BaseException = error
    above: BaseException | None = error
    while above is not None:
        found = above if isinstance(above, DBAPIError) else found
        above = above.__cause__ or above.__context__
    return found
