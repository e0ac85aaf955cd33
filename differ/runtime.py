"""`differ run`: modules in one process, each started, stopped, paused and resumed on its own, also from outside.

A running process listens on a Unix socket of its own below `<state>/run`, which only its user may open; and
`differ modules` talks to every such process of the project. One request and one answer a connection, each one line
of JSON:

    {"do": "list" | "start" | "stop" | "pause" | "resume", "module": NAME}   ->   {"modules": [...]} | {"error": ...}

Invariant: a module that fails is `failed` with its error and takes no other with it.
Source: the runtime and module management of Flipkart's Aesop (its Trooper containers).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Protocol

from differ.errors import BusyError, DifferError, UsageError, redact
from differ.schedule import Scheduler
from differ.storage import ensure_folder

log = logging.getLogger(__name__)
State = Literal["stopped", "running", "paused", "failed"]
ACTIONS = ("start", "stop", "pause", "resume")
LINE_BYTES_MAX = 65_536
ANSWER_SECONDS = 90.0
"""How long `ask` waits: a stopping scheduler lets its children roll back first."""


def control_folder(state: Path) -> Path:
    """Where the running processes of a project have their sockets; `state` is `storage.state`."""
    return state / "run"


class Module(Protocol):
    """A part of the runtime. Each call returns when it is done; they are made one at a time."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """End all work; `start` may follow."""

    def pause(self) -> None:
        """Begin nothing new; what is under way ends by itself."""

    def resume(self) -> None:
        """Begin new work again."""


class SchedulerModule:
    """The scheduler as a module; a scheduler does not start twice, so each start makes one."""

    def __init__(self, make: Callable[[], Scheduler]) -> None:
        self._make = make
        self._scheduler: Scheduler | None = None

    def start(self) -> None:
        """Begin to schedule."""
        self._scheduler = self._make()
        self._scheduler.start()

    def stop(self) -> None:
        """Start no cycle any more, and let running ones roll back."""
        if self._scheduler is not None:
            self._scheduler.stop()

    def pause(self) -> None:
        """Start no cycle; running ones end by themselves."""
        if self._scheduler is not None:
            self._scheduler.pause()

    def resume(self) -> None:
        """Go on with the schedule; turns that were missed are made up for once."""
        if self._scheduler is not None:
            self._scheduler.resume()


@dataclass(slots=True)
class _Hosted:
    module: Module
    state: State = "stopped"
    error: str | None = None


class Runtime:
    """The modules of one process. `run_forever` is for the main thread only."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._hosted = {name: _Hosted(module) for name, module in modules.items()}
        self._turn = threading.Lock()

    def describe(self) -> list[dict[str, Any]]:
        """One entry a module: name, state, error, process."""
        return [
            {"module": name, "state": hosted.state, "error": hosted.error, "process": os.getpid()}
            for name, hosted in self._hosted.items()
        ]

    def act(self, action: str, name: str) -> None:
        """Start, stop, pause or resume a module; asking for the state it has already is no error.

        Raises UsageError for what makes no sense, such as resuming a stopped module.
        """
        if name not in self._hosted:
            raise UsageError(f"{action} module {name!r}: it does not run here", hint=f"here: {', '.join(self._hosted)}")
        with self._turn:
            hosted = self._hosted[name]
            wanted, call = _transition(action, hosted)
            if call is None:
                return
            try:
                call()
            except Exception as error:
                hosted.state, hosted.error = "failed", redact(f"{type(error).__name__}: {error}")
                log.error("module %s failed: %s", name, hosted.error)
                return
            hosted.state, hosted.error = wanted, None
            log.info("module %s: %s", name, wanted)

    def start(self) -> None:
        """Start every module."""
        for name in self._hosted:
            self.act("start", name)

    def stop(self) -> None:
        """Stop every module, the last one first."""
        for name in reversed(self._hosted):
            self.act("stop", name)

    def run_forever(self, folder: Path) -> None:
        """Run until SIGTERM or SIGINT, then stop all and return. folder: where the control socket is made."""
        # A handler may interrupt any line of this thread: SimpleQueue.put is made for that, Event.set is not.
        wake: SimpleQueue[int] = SimpleQueue()
        stops = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, lambda number, _frame: wake.put(number)) for number in stops}
        try:
            with Control(self, folder):
                self.start()
                log.info("runtime: %s, stopping", signal.Signals(wake.get()).name)
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)


def _transition(action: str, hosted: _Hosted) -> tuple[State, Callable[[], None] | None]:
    """The state after an action, and what brings it about (None: it is there already)."""
    module, state = hosted.module, hosted.state
    match action:
        case "start":
            return "running", module.start if state in ("stopped", "failed") else None
        case "stop":
            return "stopped", module.stop if state != "stopped" else None
        case "pause" if state in ("running", "paused"):
            return "paused", module.pause if state == "running" else None
        case "resume" if state in ("running", "paused"):
            return "running", module.resume if state == "paused" else None
    if action not in ACTIONS:
        raise UsageError(f"module: there is no action {action!r}", hint=f"there is: {', '.join(ACTIONS)}")
    raise UsageError(f"{action} module: it is {state}", hint="start it first: 'differ modules start NAME'")


class Control:
    """The control socket of a running process, served in a thread. Use as a context manager."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self._path = ensure_folder(folder) / f"{os.getpid()}.sock"
        self._path.unlink(missing_ok=True)
        with _short_path(self._path) as short:
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

    def __init__(self, path: str, runtime: Runtime) -> None:
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
        if request["do"] != "list":
            runtime.act(request["do"], request["module"])
        return {"modules": runtime.describe()}


def ask(folder: Path, action: str = "list", module: str | None = None) -> list[dict[str, Any]]:
    """Ask every running process of the project; returns their modules. An action goes to whoever hosts the module.

    Raises UsageError when no process runs, or none hosts the module, and whatever a process answered.
    """
    found = {path: entries for path in _sockets(folder) if (entries := _ask_one(path, "list", None)) is not None}
    everything = [entry for entries in found.values() for entry in entries]
    if action == "list":
        return everything
    if not everything:
        raise UsageError(f"{action} module {module!r}: no 'differ run' of this project runs", hint="start 'differ run'")
    hosts = [path for path, entries in found.items() if any(entry["module"] == module for entry in entries)]
    if not hosts:
        known = sorted({entry["module"] for entry in everything})
        raise UsageError(
            f"{action} module {module!r}: no running process hosts it", hint=f"running: {', '.join(known)}"
        )
    answers = [_ask_one(path, action, module) for path in hosts]
    return [entry for entries in answers if entries for entry in entries if entry["module"] == module]


def _sockets(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.sock")) if folder.is_dir() else []


def _ask_one(path: Path, action: str, module: str | None) -> list[dict[str, Any]] | None:
    """A process's modules, or None when it is gone (then its socket is removed)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short_path(path) as short:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(short)
            connection.sendall(json.dumps({"do": action, "module": module}).encode() + b"\n")
            line = connection.makefile("rb").readline()
        except (ConnectionError, FileNotFoundError):  # it is gone, or goes just now
            path.unlink(missing_ok=True)
            return None
        except TimeoutError:
            raise BusyError(f"ask process {path.stem}: no answer after {ANSWER_SECONDS:g} s") from None
    if not line:
        return None
    answer = json.loads(line)
    if "error" in answer:
        raise UsageError(answer["error"]["message"], hint=answer["error"]["hint"])
    modules: list[dict[str, Any]] = answer["modules"]
    return modules


class _short_path:  # noqa: N801 - used like a function
    """A path to a socket short enough for `sun_path` (108 bytes), through a descriptor of its folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *details: object) -> None:
        os.close(self._folder)
