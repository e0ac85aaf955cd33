"""What every call passes first: its Host, that no token is in its URL, how many calls there may be at once, how large a
body may be, and how calls are counted.

Plain ASGI, since a middleware that wraps the response would stand between the stream and its client's pace.
Invariants: a body is refused as soon as it is known to be too large, whether it says its length or not; what a call
took of its token's streams is given back when it ends, however that is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from differ.errors import AccessError, DifferError, RelayUnavailableError, UsageError
from differ.server.problems import TooLargeError, problem
from differ.server.services import Services

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 1 << 20
HEAD_BYTES_MAX = 32 << 10
"""Of a call's URL and headers together."""
CALLS_MAX = 4096
OPEN_TO_ALL = ("/healthz", "/readyz")
"""They tell nothing, and who asks them may know no name."""
TOKEN_NAMES = frozenset({"token", "access_token", "auth", "authorization", "bearer", "api_key", "apikey"})


class Gate:
    """Wraps the app of one server."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services
        self._calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one call through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._calls >= CALLS_MAX:
            error = RelayUnavailableError(f"{CALLS_MAX} calls are under way", hint="ask again in a moment")
            await problem(error)(scope, receive, send)
            return
        self._calls += 1
        try:
            await self._counted(scope, _Limited(scope, receive), send)
        finally:
            self._calls -= 1

    async def _counted(self, scope: Scope, receive: _Limited, send: Send) -> None:
        status = 500
        begun = time.monotonic()

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if (refusal := self._refusal(scope, receive)) is not None:
                await problem(refusal)(scope, receive, noticed)
            else:
                await self._app(scope, receive, noticed)
        except asyncio.CancelledError:
            log.info("%s %s: broken off by a stop", scope["method"], scope["path"])
        finally:
            self._services.access.ended(scope)
            if self._services.measures is not None:
                route = getattr(scope.get("route"), "path_format", "other")
                self._services.measures.answered(f"{scope['method']} {route}", status, time.monotonic() - begun)

    def _refusal(self, scope: Scope, receive: _Limited) -> DifferError | None:
        """Why the call is not even looked at; None for one that is."""
        head = len(scope["raw_path"]) + len(scope["query_string"])
        if head + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES_MAX:
            return TooLargeError("the call's URL and headers are larger than 32 KiB", hint="send less")
        if receive.is_too_large:
            return TooLargeError(_TOO_LARGE, hint="no call needs one that large")
        try:
            if scope["path"] not in OPEN_TO_ALL:
                self._services.access.check_host(Headers(scope=scope).get("host", ""))
        except AccessError as error:
            return error
        names = {name.lower() for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)}
        if TOKEN_NAMES & names:
            return UsageError(
                "the call has a token in its URL, which logs and histories keep",
                hint="send 'Authorization: Bearer TOKEN', and replace that token",
            )
        return None


class _Limited:
    """The call's body, refused past the limit."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0
        length = dict(scope["headers"]).get(b"content-length", b"0")
        self.is_too_large = length.isdigit() and int(length) > BODY_BYTES_MAX

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > BODY_BYTES_MAX:
            raise HTTPException(413, _TOO_LARGE)  # the one kind that FastAPI lets through while it reads a body
        return message


_TOO_LARGE = f"the call's body is larger than {BODY_BYTES_MAX >> 20} MiB"
