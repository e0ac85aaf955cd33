"""A body of events sent as fast as its client takes it, and no faster.

    pool thread: next chunk (at most 1 MiB) -> event loop: send, wait until the client took it -> next chunk ...

A client that stops reading holds a chunk, the socket's buffers and a place in a file: no thread, and no decoded event.
Invariants: the first chunk is made before the status is sent, so what fails there is still an error answer; what fails
later breaks the connection off without the end of the chunked coding, so no client can take it for the end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from differ.errors import DifferError
from differ.server.services import Services

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
GATHER_BYTES = 64 << 10
"""Smaller pieces are sent together."""


class Body(Response):
    """An answer whose body is made chunk by chunk. chunks: makes them, in the pool's threads; closed at the end.

    gone: done when the client is (see `watch`); cancelled at the end. form: what `Measures.sent` is told.
    """

    def __init__(
        self,
        services: Services,
        chunks: Iterator[bytes],
        *,
        gone: asyncio.Future[None],
        form: str,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        self.status_code, self.media_type, self.background = 200, media_type, None
        self._services, self._gone, self._form = services, gone, form
        self._chunks = _Chunks(chunks)
        self.init_headers({**headers, "Cache-Control": "no-store"})

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Headers as given, and no length: it is not known."""
        pairs = {**(headers or {}), "Content-Type": str(self.media_type)}
        self.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all. Returns without the body's end where it fails in the middle, or the client is gone."""
        sent_bytes = 0
        try:
            chunk, is_last = await self._services.read(self._chunks.next)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while not self._gone.done():
                await send({"type": "http.response.body", "body": chunk, "more_body": not is_last})
                sent_bytes += len(chunk)
                if is_last:
                    return
                chunk, is_last = await self._next(scope)
        except _BrokenOffError:
            return
        finally:
            self._gone.cancel()
            self._chunks.close()
            if self._services.measures is not None:
                self._services.measures.sent(self._form, sent_bytes)

    async def _next(self, scope: Scope) -> tuple[bytes, bool]:
        try:
            return await self._services.read(self._chunks.next)
        except (DifferError, RuntimeError) as error:  # RuntimeError: the pool was closed by a stop
            log.error("%s: broken off in mid-answer: %s", scope.get("path"), error)
            raise _BrokenOffError from error


class _BrokenOffError(Exception):
    """The answer cannot go on, and must not look as if it had ended."""


class _Chunks:
    """An iterator that threads take turns with; `close` may come while another thread is inside `next`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ahead: list[bytes] = []
        self._turn = threading.Lock()
        self._closed = False

    def next(self) -> tuple[bytes, bool]:
        """The next chunk, and whether it is the last. Only after a small one is it looked ahead for another."""
        with self._turn:
            try:
                chunk = self._ahead.pop() if self._ahead else self._following()
                if chunk is None:
                    return b"", True
                if len(chunk) >= GATHER_BYTES:
                    return chunk, False
                ahead = self._following()
                if ahead is not None:
                    self._ahead.append(ahead)
                return chunk, ahead is None
            finally:
                self._let_go()

    def _following(self) -> bytes | None:
        return None if self._closed else next(self._chunks, None)

    def close(self) -> None:
        """Let go of what the iterator holds, now or when the thread inside it is done."""
        self._closed = True
        if self._turn.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._turn.release()

    def _let_go(self) -> None:
        if self._closed and isinstance(self._chunks, Generator):
            self._chunks.close()


def watch(receive: Receive) -> asyncio.Task[None]:
    """A task that is done when the client is gone. The call's body must have been read."""

    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return asyncio.get_running_loop().create_task(until_gone())


def gather(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of at most CHUNK_BYTES, small pieces together, large ones cut."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) >= GATHER_BYTES and not waiting:
            yield from _cut(piece)
            continue
        waiting.append(piece)
        size += len(piece)
        if size >= GATHER_BYTES:
            joined = b"".join(waiting)
            waiting, size = [], 0
            yield from _cut(joined)
    if waiting:
        yield from _cut(b"".join(waiting))


def _cut(piece: bytes) -> Iterator[bytes]:
    if len(piece) <= CHUNK_BYTES:
        if piece:
            yield piece
        return
    for offset in range(0, len(piece), CHUNK_BYTES):
        yield piece[offset : offset + CHUNK_BYTES]
