"""Read ahead in a thread: the network and Arrow work while callbacks do, and the run can look up while nothing comes.

Invariants: items come in order, and an error after all items that came before it; no more than DEPTH items are held.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
DEPTH = 2


class End:
    """There are no more items."""


class Prefetch(Generic[T]):
    """Runs an iterator in a thread of its own; use `get` from one thread, and `close` always.

    stop: ends the iterator wherever it waits; `close` calls it until the thread has ended.
    """

    def __init__(self, items: Callable[[], Iterator[T]], *, stop: Callable[[], None]) -> None:
        self._items, self._stop = items, stop
        self._queue: queue.Queue[T | End | BaseException] = queue.Queue(DEPTH)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="differ-read", daemon=True)
        self._thread.start()

    def get(self, timeout_seconds: float) -> T | End | None:
        """The next item, `End` after the last, None when none came in time. Raises what the iterator raised."""
        try:
            item = self._queue.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """End the thread; what it holds is dropped. Idempotent."""
        if self._closed.is_set():
            return
        self._closed.set()
        while self._thread.is_alive():
            self._stop()
            with suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(0.01)

    def _run(self) -> None:
        try:
            for item in self._items():
                if self._closed.is_set():
                    return
                self._queue.put(item)
            self._queue.put(End())
        except BaseException as error:
            if not self._closed.is_set():
                self._queue.put(error)
