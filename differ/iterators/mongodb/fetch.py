"""The next batch of a cursor is asked for while the last one becomes records.

    server ──> [thread: next raw batch] ──> at most QUEUED_BATCHES ──> decode, encode (whoever walks the batches)

A driver's cursor waits for the server, then decodes, then waits again; making canonical texts takes as long as either.
Here the waiting is done in a thread of its own, which only passes bytes on, so a scan takes as long as the slower of
server and encoder, not their sum.

Invariant: cursor and session are used by the thread alone until `ahead` is left, and by nobody in it afterwards; the
exception is a server that does not answer: then the thread is left behind, and ends with its connection.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

QUEUED_BATCHES = 2
"""A batch is at most 16 MiB and a document; two waiting and one on its way bound what is held."""
STOP_SECONDS = 5.0
_POLL_SECONDS = 0.2


@contextmanager
def ahead(open_cursor: Callable[[], Any], check: Callable[[], None]) -> Iterator[Iterator[bytes]]:
    """Walk the raw batches of a cursor that a thread opens, reads and closes.

    Raises in the walking thread what the driver raises in the other. check: called every 0.2 s of waiting, may raise.
    """
    fetcher = _Fetcher(open_cursor)
    try:
        yield fetcher.batches(check)
    finally:
        fetcher.stop()


class _Fetcher:
    def __init__(self, open_cursor: Callable[[], Any]) -> None:
        self._open_cursor = open_cursor
        self._items: queue.Queue[bytes | BaseException | None] = queue.Queue(QUEUED_BATCHES)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="differ-fetch", daemon=True)
        self._thread.start()

    def batches(self, check: Callable[[], None]) -> Iterator[bytes]:
        """What the thread gave, to its end."""
        while True:
            try:
                item = self._items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                check()
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """Have the thread end, and wait for it; for a request that is on its way, only so long."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            with self._open_cursor() as cursor:
                for batch in cursor:
                    if not self._put(batch):
                        return
            self._put(None)
        except BaseException as error:  # whatever it is, the one who waits must hear of it
            self._put(error)

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False
