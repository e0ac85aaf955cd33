"""Read in a thread, for asyncio: the event loop is woken for each batch and never blocked.

Invariant: no more than DEPTH batches wait; leaving the iteration ends the thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator

from differ.client.events import Events
from differ.client.transport import Transport

DEPTH = 4


async def batches_async(
    items: Callable[[], Iterator[Events]], transport: Transport, stop: threading.Event
) -> AsyncGenerator[Events, None]:
    """What an iterator gives, each item as it comes. stop: ends the iterator together with the transport's calls."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    room = threading.Semaphore(DEPTH)
    found: deque[Events | BaseException | None] = deque()

    def put(item: Events | BaseException | None) -> None:
        found.append(item)
        try:
            loop.call_soon_threadsafe(arrived.set)
        except RuntimeError:
            stop.set()  # The event loop is closed: nobody will ever take it.

    def read() -> None:
        try:
            for item in items():
                room.acquire()
                if stop.is_set():
                    return
                put(item)
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, name="differ-read-async", daemon=True)
    thread.start()
    try:
        while True:
            while not found:
                arrived.clear()
                if not found:
                    await arrived.wait()
            item = found.popleft()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        stop.set()
        room.release()
        while thread.is_alive():
            transport.abort()
            await asyncio.sleep(0.01)
        transport.close()
