"""HTTP to the relay: what it answers with becomes a Python value, what it refuses the error of that code.

Every failure of the network, a 5xx and an answer that breaks off are RelayUnavailableError, which is transient; nothing
is retried in here but by `call` when it is given a back-off. Invariant: no error of urllib3 is raised out of here.
Source: docs/decisions/0017-client-http.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlencode, urljoin
from weakref import WeakSet

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import Timeout

from differ.client.retries import Backoff
from differ.errors import (
    AccessError,
    BootstrapGoneError,
    DifferError,
    FencedError,
    RelayError,
    RelayUnavailableError,
    ScnAheadError,
    ScnTooOldError,
    StreamChangedError,
    UsageError,
    register_secret,
)

Query = Sequence[tuple[str, str]]
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
REDIRECTS_MAX = 3
_SENSELESS = {400, 404, 405, 413, 422}
_NO_RELAY = {501, 505}
"""What other servers answer for ever to calls that they do not know; no relay does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """An answer whose body is read as it arrives; `headers` ignores case."""

    headers: Mapping[str, str]
    body: BinaryIO


class NotFoundError(UsageError):
    """A relay has no such path, source, consumer or schema."""


class Transport:
    """Talks to one relay. Any number of threads may use it, each for its own calls.

    url: such as http://127.0.0.1:7070, a path before /v1 included. token: sent as bearer token.
    """

    def __init__(self, url: str, *, token: str | None = None, read_seconds: float = READ_SECONDS) -> None:
        self.url = _checked(url)
        self._token = token
        self._read_seconds = read_seconds
        self._headers = {"User-Agent": "differ-client", "Accept-Encoding": "identity"}
        if token:
            if not token.isprintable() or " " in token:
                raise UsageError("relay: the token has spaces or line ends", hint="strip what was read from a file")
            register_secret(token)
            self._headers["Authorization"] = f"Bearer {token}"
        self._connections: WeakSet[HTTPConnection] = WeakSet()
        self._pool = urllib3.PoolManager(num_pools=4, maxsize=4)
        self._pool.pool_classes_by_scheme = _recording_pools(self._connections)

    def another(self, *, read_seconds: float | None = None) -> Transport:
        """A transport to the same relay with connections of its own, so that `abort` ends no one else's calls."""
        return Transport(self.url, token=self._token, read_seconds=read_seconds or self._read_seconds)

    def abort(self) -> None:
        """End the calls that other threads wait for: they raise RelayUnavailableError. The transport stays usable."""
        import socket

        for connection in list(self._connections):
            sock = getattr(connection, "sock", None)
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        backoff: Backoff | None = None,
        missing_is_none: bool = False,
    ) -> Any:
        """One call with a JSON answer; None where the answer is empty. Raises a RelayError or UsageError.

        backoff: try again after transient errors; every call that is made so is safe to repeat. missing_is_none: what
        the relay says it does not have is None and no error; a 404 of any other server stays one.
        """
        while True:
            try:
                with self._request(method, path, query, body, self._read_seconds) as response:
                    answer = _json(response.read(), f"{method} {path}")
            except HTTPError as error:
                failure = _unavailable(self.url, f"{method} {path}", error)
            except RelayUnavailableError as error:
                failure = error
            except NotFoundError:
                if missing_is_none:
                    return None
                raise
            else:
                if backoff is not None:
                    backoff.reset()
                return answer
            if backoff is None:
                raise failure
            backoff.wait(failure)
            if backoff.stopped:
                raise failure

    @contextmanager
    def stream(self, path: str, *, query: Query = (), wait_seconds: float = 0.0) -> Iterator[Streamed]:
        """An answer to read as it arrives. Reads raise RelayUnavailableError where it breaks off.

        wait_seconds: how long the relay was asked to wait before it answers.
        """
        try:
            with self._request("GET", path, query, None, self._read_seconds + wait_seconds) as response:
                yield Streamed(headers=response.headers, body=cast(BinaryIO, _Body(self.url, path, response)))
        except HTTPError as error:
            raise _unavailable(self.url, f"GET {path}", error) from error

    @contextmanager
    def _request(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, read_seconds: float
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        url = self.url + path + ("?" + urlencode(query) if query else "")
        for _ in range(REDIRECTS_MAX + 1):
            response = self._pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=self._headers | ({} if body is None else {"Content-Type": "application/json"}),
                timeout=Timeout(connect=CONNECT_SECONDS, read=read_seconds),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                if response.status in (307, 308) and "Location" in response.headers:
                    url = urljoin(url, response.headers["Location"])
                    response.drain_conn()
                    continue
                if response.status >= 300:
                    raise _refused(response.status, response.read(), f"{method} {path}", response.headers)
                yield response
                response.drain_conn()
                return
            except BaseException:
                response.close()  # What is left of the answer must not be taken for the next one.
                raise
            finally:
                response.release_conn()
        raise RelayError(f"{method} {path}: redirected more than {REDIRECTS_MAX} times", hint="look at bootstrap.url")


class _Body:
    """A response's bytes, with the errors of this module."""

    def __init__(self, relay: str, path: str, response: urllib3.BaseHTTPResponse) -> None:
        self._relay, self._path, self._response = relay, path, response

    def read(self, size: int = -1) -> bytes:
        try:
            return self._response.read(None if size < 0 else size)
        except (HTTPError, OSError) as error:
            raise _unavailable(self._relay, f"GET {self._path}", error) from error


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def _checked(url: str) -> str:
    try:
        parsed = urllib3.util.parse_url(url)
    except HTTPError:
        parsed = urllib3.util.Url()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise UsageError(f"relay {url!r}: it is no URL of a relay", hint="such as http://127.0.0.1:7070")
    return url.rstrip("/")


def _recording_pools(connections: WeakSet[HTTPConnection]) -> dict[str, Any]:
    """Pools whose connections can be found again, to be shut down under a thread that waits on one."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            connections.add(self)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            connections.add(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _unavailable(relay: str, what: str, error: Exception) -> RelayUnavailableError:
    cause = "no answer in time" if isinstance(error, ReadTimeoutError) else _cause(error)
    return RelayUnavailableError(
        f"{what} at {relay}: {cause}", hint="is the relay running? it is started by 'differ run --only relay'"
    )


def _cause(error: BaseException) -> str:
    inner = error.__cause__ or error.__context__
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(error).rsplit(">: ", 1)[-1] or type(error).__name__


def _json(data: bytes, what: str) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        raise RelayError(f"{what}: the answer is no JSON", hint="is this the URL of a relay?") from None


def _refused(status: int, data: bytes, what: str, headers: Mapping[str, str]) -> DifferError:
    """The error that an answer with a status of 300 and more stands for."""
    try:
        body = json.loads(data)["error"]
        code, message, hint = str(body["code"]), str(body["message"]), body.get("hint")
    except (ValueError, KeyError, TypeError):
        body, code = {}, ""
        message, hint = f"{what}: the answer was status {status}", "is this the URL of a relay?"
    match code:
        case ScnTooOldError.code:
            return ScnTooOldError(message, hint=hint, oldest=body.get("oldest"), source=body.get("source"))
        case ScnAheadError.code:
            return ScnAheadError(message, hint=hint, head=body.get("head"))
        case StreamChangedError.code:
            return StreamChangedError(message, hint=hint)
        case FencedError.code:
            return FencedError(message, hint=hint)
        case BootstrapGoneError.code:
            return BootstrapGoneError(message, hint=hint)
    if status in (401, 403):
        return AccessError(message, hint=hint, forbidden=status == 403)
    if status not in _NO_RELAY and (status >= 500 or status in (408, 425, 429)):
        return RelayUnavailableError(message, hint=hint)
    if status == 404 and code:
        return NotFoundError(message, hint=hint)
    if status in _SENSELESS:
        return UsageError(message, hint=hint)
    return RelayError(message, hint=hint)
