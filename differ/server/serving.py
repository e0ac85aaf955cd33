"""A server on a port: uvicorn in a thread with an event loop of its own, which a module starts and stops.

Invariants: when `start` returns, the port listens; when `stop` returns, the port is closed and no call is left. Waiting
calls end at once with what there is; bodies under way are given `grace_seconds`, then broken off, which no client can
take for their end.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import struct
import threading
from contextlib import suppress

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from differ.config.relay import TLSSettings
from differ.errors import ConfigError, RelayUnavailableError
from differ.server.app import App
from differ.server.gate import HEAD_BYTES_MAX

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
STOP_SECONDS = 5.0
FILES_WANTED = 65_536
"""Each client is an open file; the usual soft limit is 1024."""
SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer, whoever makes it: nothing inline, nothing from elsewhere, in nobody's frame."""


class Serving:
    """One app at host:port (port 0: any free one), with HTTPS alone where there is `tls`; `url` says where.

    Once stopped it does not start again.
    """

    def __init__(self, app: App, listen: str, tls: TLSSettings | None = None) -> None:
        self._app, self._listen, self._tls = app, listen, tls
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws="none",
            proxy_headers=False,
            http=_Protocol,
            h11_max_incomplete_event_size=2 * HEAD_BYTES_MAX,  # what comes in one piece is for the gate
            headers=list(SAFE_HEADERS.items()),
            ssl_certfile=None if tls is None else tls.certificate,
            ssl_keyfile=None if tls is None else tls.key,
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="differ-server", daemon=True)
        self.url = ""

    def start(self) -> None:
        """Listen and serve. Raises ConfigError where the address or the certificate cannot be used."""
        _allow_files()
        try:
            self._server.config.load()
        except OSError as error:  # ssl.SSLError is one
            assert self._tls is not None  # noqa: S101
            raise ConfigError(
                f"relay.tls: {self._tls.certificate}: {error.strerror or error}",
                hint="certificate and key are PEM files that belong together, the key without password",
            ) from error
        self._socket = _listening(self._listen)
        host, port = self._socket.getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise RelayUnavailableError(f"serve {self._listen}: {self._failure}") from self._failure
        log.info("server: listening on %s", self.url)

    @property
    def failure(self) -> BaseException | None:
        """What ended the server by itself, or None."""
        return self._failure

    def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Take no more calls, end those that wait, let bodies go on for so long at most, and close; idempotent."""
        self._app.services.stop_soon()
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
            log.info("server: %s closed", self.url)
        self._app.services.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            log.exception("server: %s failed", self.url)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        assert self._socket is not None  # noqa: S101
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.001)
        self._ready.set()
        await serving
        for connection in list(self._server.server_state.connections):  # whose time is up
            _break_off(connection.transport)
        await asyncio.sleep(0)  # an abort closes the socket in the loop's next turn


class _Protocol(H11Protocol):
    """Answers what is no HTTP with the headers of every other answer."""

    def send_400_response(self, msg: str) -> None:
        """The last words on this connection."""
        headers = [*self.server_state.default_headers, (b"content-type", b"text/plain"), (b"connection", b"close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=msg.encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _break_off(transport: asyncio.Transport) -> None:
    """Reset the connection; what the client has not taken yet is gone."""
    opened = transport.get_extra_info("socket")
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"listen on {listen}: {error.strerror}", hint="give relay.listen as host:port") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # notices clients that vanished
        opened.bind(address)
    except OSError as error:
        opened.close()
        hint = "another process has the port: stop it, or set another relay.listen"
        raise ConfigError(f"listen on {listen}: {error.strerror}", hint=hint) from error
    return opened


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
