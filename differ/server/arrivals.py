"""Calls that wait for events: asleep on one future of the event loop, woken by the watcher's thread.

A thousand waiting clients cost a coroutine each and no thread. Invariant: no wake-up is lost: a waiter takes the future
before it looks at the head, and the head moves before the future is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from differ.relay.watcher import HeadWatcher


class Arrivals:
    """Lets the coroutines of one event loop wait for the head to move, until `close`."""

    def __init__(self, watcher: HeadWatcher) -> None:
        self._watcher = watcher
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: asyncio.Future[None] | None = None
        self._end: Callable[[], None] | None = None
        self.is_closed = False
        self.waiting = 0

    async def beyond(self, head: int, seconds: float, gone: asyncio.Future[None]) -> bool:
        """Wait until the stream's head is above `head`, at most so long; whether it is.

        gone: done when the client is; ends the wait, and so does `close`.
        """
        loop = self._bind()
        deadline = loop.time() + seconds
        self.waiting += 1
        try:
            while not self.is_closed and not gone.done():
                turn = self._next_turn(loop)
                if self._watcher.head > head:
                    return True
                left = deadline - loop.time()
                if left <= 0:
                    return False
                await asyncio.wait({turn, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            return self._watcher.head > head
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """End every wait now and from now on; may be called from any thread; idempotent."""
        self.is_closed = True
        if self._end is not None:
            self._end()
        self._wake_soon(0)

    def _bind(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._end = self._watcher.subscribe(self._wake_soon)
        return loop

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        if self._turn is None or self._turn.done():
            self._turn = loop.create_future()
        return self._turn

    def _wake_soon(self, head: int) -> None:
        """Called from the watcher's thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop ended, and with it everybody who waited
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)
