"""A connection to NATS JetStream from a thread that is not asynchronous: the client's loop runs in a thread beside it.

Messages are sent one behind the other on one connection, so the server stores them in that order, and their answers are
awaited together on an inbox of the connection. (The client's own `publish_async` never ends where the server refuses a
message, and its `publish` called several times at once keeps no order.)

Invariant: a call returns when every message was confirmed or refused; after a failure the connection is gone and the
next call makes a new one. Source: NATS' JetStream API, publish acknowledgements (ADR-1, ADR-22).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

T = TypeVar("T")
CLOSE_SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The server has the message. duplicate: it had one of this id before, and kept that."""

    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The server, or the client before it, does not take the message. code: the server's own, 0 for the client's."""

    code: int
    reason: str


Outcome: TypeAlias = Stored | Refused
TOO_LARGE = Refused(code=10054, reason="larger than the server takes")
_PASSING = frozenset({10008, 10009, 10023, 10028, 10077})
"""Codes of a server that cannot answer now: no leader, no resources, no quorum, a store that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. identity: what the server tells duplicates by."""

    subject: str
    body: bytes
    identity: str
    headers: dict[str, str]


class JetStreamUnavailableError(Exception):
    """The server cannot be reached, or did not confirm in time; the text says which, without values."""


class JetStream:
    """Connects, looks up streams and publishes; used from one thread at a time."""

    def __init__(self, servers: Sequence[str], *, seconds: float, credentials: str | None) -> None:
        """seconds: until an answer is given up. credentials: a file of NATS credentials."""
        self._servers, self._seconds, self._credentials = list(servers), seconds, credentials
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._streams: JetStreamContext | None = None
        self._last_error: Exception | None = None
        self._inbox, self._sent = "", 0
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}

    def connect(self) -> None:
        """Connect. Raises JetStreamUnavailableError, and what the client raises for wrong credentials."""
        self._run(self._connected())

    def close(self) -> None:
        """End the connection and the thread. Idempotent; raises nothing."""
        if self._loop is not None:
            self._drop()
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop = None

    def stream_exists(self, name: str) -> bool:
        """Whether there is a stream of this name."""

        async def ask() -> bool:
            try:
                await (await self._connected()).stream_info(name)
            except NotFoundError:
                return False
            return True

        return self._run(ask())

    def make_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Make a stream that keeps these subjects in files, with the server's own limits."""

        async def make() -> None:
            streams = await self._connected()
            await streams.add_stream(api.StreamConfig(name=name, subjects=list(subjects)))

        self._run(make())

    def last_headers(self, stream: str, subject: str) -> tuple[int, dict[str, str]] | None:
        """Sequence and headers of the last message of a subject; None where there is none."""

        async def ask() -> tuple[int, dict[str, str]] | None:
            try:
                found = await (await self._connected()).get_last_msg(stream, subject)
            except NotFoundError:
                return None
            return found.seq or 0, found.headers or {}

        return self._run(ask())

    def publish(self, messages: Sequence[Message], stream: str) -> list[Outcome]:
        """Publish, in this order, and wait for every answer. Raises JetStreamUnavailableError."""
        return self._run(self._publish(messages, stream))

    # -- inside the loop --------------------------------------------------------------------------------------

    async def _publish(self, messages: Sequence[Message], stream: str) -> list[Outcome]:
        await self._connected()
        client = self._client
        if client is None:
            raise JetStreamUnavailableError("the connection ended")
        answers: list[asyncio.Future[Outcome]] = []
        for message in messages:
            answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            answers.append(answer)
            self._waiting[str(self._sent)] = answer
            reply, self._sent = f"{self._inbox}.{self._sent}", self._sent + 1
            headers = {**message.headers, "Nats-Msg-Id": message.identity, "Nats-Expected-Stream": stream}
            try:
                await client.publish(message.subject, message.body, reply=reply, headers=headers)
            except MaxPayloadError:
                answer.set_result(TOO_LARGE)
        _, missing = await asyncio.wait(answers, timeout=self._seconds)
        self._waiting.clear()
        if missing:
            why = str(self._last_error) if self._last_error else "no answer"
            raise JetStreamUnavailableError(f"{len(missing)} messages were not confirmed: {why}")
        outcomes = [answer.result() for answer in answers]
        if passing := [one for one in outcomes if isinstance(one, Refused) and one.code in (*_PASSING, 503)]:
            raise JetStreamUnavailableError(passing[0].reason)
        return outcomes

    async def _answered(self, answer: Msg) -> None:
        waiting = self._waiting.pop(answer.subject.rpartition(".")[2], None)
        if waiting is not None and not waiting.done():
            waiting.set_result(_outcome(answer))

    async def _connected(self) -> JetStreamContext:
        if self._client is not None and self._streams is not None and self._client.is_connected:
            return self._streams
        await self._disconnect()
        self._last_error = None
        client = Client()
        extra: dict[str, Any] = {} if self._credentials is None else {"user_credentials": self._credentials}
        connecting = client.connect(
            self._servers, name="differ", connect_timeout=max(1, int(min(10.0, self._seconds))), allow_reconnect=False,
            max_reconnect_attempts=1, reconnect_time_wait=0, error_cb=self._remember, **extra,
        )  # fmt: skip
        await asyncio.wait_for(connecting, self._seconds)
        self._client = client
        self._inbox, self._sent = client.new_inbox(), 0
        await client.subscribe(f"{self._inbox}.*", cb=self._answered)
        self._streams = client.jetstream(timeout=self._seconds)
        return self._streams

    async def _remember(self, error: Exception) -> None:
        self._last_error = error

    async def _disconnect(self) -> None:
        client, self._client, self._streams = self._client, None, None
        if client is not None:
            await asyncio.wait_for(client.close(), CLOSE_SECONDS_MAX)

    # -- beside it --------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._serve, args=(self._loop,), daemon=True, name="differ-nats").start()
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        """Forget the connection; what is still on its way is not waited for."""
        if self._loop is not None:
            done = asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop)
            try:
                done.result(CLOSE_SECONDS_MAX + 1)
            except Exception:  # A connection that cannot even be closed is gone as well.
                self._client = self._streams = None

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()


def _outcome(answer: Msg) -> Outcome:
    if answer.headers and answer.headers.get("Status") == "503":
        return Refused(code=503, reason="no stream takes the subject now")
    try:
        body: Any = json.loads(answer.data)
        error = body.get("error")
    except (ValueError, AttributeError):
        return Refused(code=503, reason="an answer that is none of JetStream's")
    if error is None:
        return Stored(duplicate=bool(body.get("duplicate")))
    code = int(error.get("err_code") or error.get("code") or 0)
    return TOO_LARGE if code == TOO_LARGE.code else Refused(code=code, reason=str(error.get("description", "")))
