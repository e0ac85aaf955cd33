"""The control socket of a running `differ run`: a Unix socket of its own below `<state>/run`, which only its user may
open. One request and one answer a connection, each one line of JSON:

    {"do": "list" | "start" | "stop" | "restart" | "pause" | "resume", "module": NAME}
        ->   {"modules": [...]} | {"error": {"message", "hint", "exit_code"}}

Invariant: what is no request is answered as such, and harms nobody.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from differ.errors import DifferError
from differ.storage import ensure_folder

LINE_BYTES_MAX = 65_536


def control_folder(state: Path) -> Path:
    """Where the running processes of a project have their sockets; `state` is `storage.state`."""
    return state / "run"


class Controlled(Protocol):
    """What the socket acts on: a runtime."""

    def describe(self) -> list[dict[str, Any]]:
        """One entry a module."""

    def act(self, action: str, name: str) -> list[dict[str, Any]]:
        """Act on a module; what is so then."""


class Control:
    """The control socket of a running process, served in a thread. Use as a context manager."""

    def __init__(self, runtime: Controlled, folder: Path) -> None:
        self._path = ensure_folder(folder) / f"{os.getpid()}.sock"
        self._path.unlink(missing_ok=True)
        with short_path(self._path) as short:
            self._server = _Server(short, runtime)
        self._path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, name="differ-control", daemon=True)

    def __enter__(self) -> Control:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, runtime: Controlled) -> None:
        self.runtime = runtime
        super().__init__(path, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        answer: dict[str, Any]
        try:
            answer = self._answer(json.loads(self.rfile.readline(LINE_BYTES_MAX)))
        except DifferError as error:
            answer = {"error": {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}}
        except (ValueError, TypeError, KeyError, AttributeError):
            answer = {"error": {"message": "control: not a request", "hint": None, "exit_code": 2}}
        with suppress(OSError):
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        runtime = self.server.runtime  # type: ignore[attr-defined]
        if request["do"] == "list":
            return {"modules": runtime.describe()}
        return {"modules": runtime.act(request["do"], request["module"])}


class short_path:  # noqa: N801 - used like a function
    """A path to a socket short enough for `sun_path` (108 bytes), through a descriptor of its folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *details: object) -> None:
        os.close(self._folder)
