"""Writing behind: encoding and writing go on in a thread of their own, in order, while the caller makes the next rows.

Bounded: at most QUEUED tasks wait, then the caller does. The first failure is raised by the next call, and nothing is
run after it. Source: the write-behind of buffered file systems; TigerStyle's bounded queues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

QUEUED = 2


class WriteBehind:
    """Runs tasks one after the other in one thread. Used by one thread; `close` may be called twice."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def put(self, task: Callable[[], None]) -> None:
        """Have a task run after those before it. Raises what one of those raised."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, self._name)
        while len(self._waiting) >= QUEUED:
            self._next()
        self._waiting.append(self._pool.submit(self._run, task))

    def wait(self) -> None:
        """Wait until everything is done. Raises what one of the tasks raised."""
        while self._waiting:
            self._next()

    def close(self) -> None:
        """Let the thread end, without the tasks that wait; never raises."""
        self._failed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._waiting.clear()

    def _run(self, task: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            task()
        except BaseException:
            self._failed = True
            raise

    def _next(self) -> None:
        self._waiting.popleft().result()
