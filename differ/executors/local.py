"""A reader thread: all calls of one scan run in it, one after the other, while the comparing thread goes on.

Drivers such as SQLite's are bound to the thread that opened them, and a plugin may hang; so the reader is a daemon
thread that hands its items over through a bounded queue, and whoever waits for it can give up at a deadline. A reader
that was given up is never waited for: it holds no lock and what it yields is dropped.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from differ.errors import InterruptedScanError, IteratorError, ScanTimeoutError, redact

Item = TypeVar("Item")
log = logging.getLogger(__name__)
QUEUED_BATCHES = 4
_POLL_SECONDS = 0.2
_END = object()


class Deadline:
    """When a scan must be over; `seconds=None` never ends."""

    def __init__(self, seconds: float | None, what: str) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._seconds = seconds
        self._what = what

    def check(self) -> None:
        """Raise ScanTimeoutError once the time is over."""
        if self._end is not None and time.monotonic() > self._end:
            raise ScanTimeoutError(
                f"{self._what}: no end after {self._seconds:g} s, its timeout",
                hint="find out what it waits for, or raise 'timeout:'; nothing was committed",
            )


@dataclass(slots=True)
class _Failure:
    error: BaseException


class ReaderThread:
    """One daemon thread for one scan. Use as a context manager; leaving it stops what still runs.

    cancelled: the caller's wish to end, which is looked at and never set. stopped: set once nobody waits for the thread
    any more; what runs in it should look at this.
    """

    def __init__(self, name: str, cancelled: threading.Event, deadline: Deadline) -> None:
        self.stopped = threading.Event()
        self._cancelled = cancelled
        self._deadline = deadline
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"differ-read-{name}", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Item]) -> Item:
        """Run a function in the thread and return what it returns; raises what it raises, or ScanTimeoutError."""
        return self.start(function)()

    def start(self, function: Callable[[], Item]) -> Callable[[], Item]:
        """Have the thread run a function, and go on; what is returned waits for its result, as `call` does."""
        items: queue.Queue[Any] = queue.Queue(maxsize=QUEUED_BATCHES)
        self._tasks.put(lambda: self._walk(lambda: iter([function()]), items))
        return lambda: next(self._given(items))

    def stream(self, make: Callable[[], Iterable[Item]]) -> Iterator[Item]:
        """The items of an iterable that is made and walked in the thread, at most QUEUED_BATCHES ahead."""
        items: queue.Queue[Any] = queue.Queue(maxsize=QUEUED_BATCHES)
        self._tasks.put(lambda: self._walk(make, items))
        yield from self._given(items)

    def _given(self, items: queue.Queue[Any]) -> Iterator[Any]:
        while True:
            item = self._next(items)
            if item is _END:
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item

    def finish(self, steps: Sequence[Callable[[], object]], seconds: float) -> None:
        """Run the last steps in the thread and wait for them at most `seconds`; a failing one is logged, since what
        the scan gave is whole by then, or it failed already."""
        done = threading.Event()

        def run() -> None:
            for step in steps:
                try:
                    step()
                except Exception as error:
                    log.warning("closing a scan: %s: %s", type(error).__name__, redact(str(error)))
            done.set()

        self._tasks.put(run)
        done.wait(seconds)

    def _next(self, items: queue.Queue[Any]) -> Any:
        while True:
            if self._cancelled.is_set():
                raise InterruptedScanError("scan: cancelled")
            self._deadline.check()
            try:
                return items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if not self._thread.is_alive():
                    raise InterruptedScanError("scan: its reader thread ended without a word") from None

    def _walk(self, make: Callable[[], Iterable[Any]], items: queue.Queue[Any]) -> None:
        try:
            for item in make():
                if not self._put(items, item):
                    return
            self._put(items, _END)
        except GeneratorExit:
            self._put(items, _Failure(IteratorError("scan: the iterator raised GeneratorExit", hint="mend the plugin")))
        except BaseException as error:  # a plugin may raise SystemExit, and the comparing thread must hear of it
            self._put(items, _Failure(error))

    def _put(self, items: queue.Queue[Any], item: Any) -> bool:
        while not self.stopped.is_set():
            try:
                items.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()

    def __enter__(self) -> ReaderThread:
        return self

    def __exit__(self, *details: object) -> None:
        self.stopped.set()
        self._tasks.put(None)
