"""Ask the running processes of a project what they host, and tell them what to do; see `control` for the words.

Invariants: a process that died is noticed, and its socket removed; one that does not answer is shown as such: it is no
silent gap, and hides no other.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from differ.errors import BusyError, UsageError
from differ.runtime.control import short_path
from differ.runtime.host import STOP_SECONDS_MAX

ANSWER_SECONDS = STOP_SECONDS_MAX + 10.0
"""How long an action may take: a stopping scheduler lets its children roll back first."""
LIST_SECONDS = 5.0


def ask(
    folder: Path, action: str = "list", module: str | None = None, *, list_seconds: float = LIST_SECONDS
) -> list[dict[str, Any]]:
    """Ask every running process of the project; returns their modules. An action goes to whoever hosts the module.

    module: a name, or `sinks` for all of them. list_seconds: how long a process may take to say what it hosts; one that
    takes longer is an entry of its own, `failed`. Raises UsageError when no process runs or none hosts the module, and
    what a process answered; BusyError for one that does not end an action.
    """
    found: dict[Path, list[dict[str, Any]]] = {}
    for path in _sockets(folder):
        try:
            entries = _ask_one(path, "list", None, list_seconds)
        except BusyError as error:
            entries = [_silent(path, error)]
        if entries is not None:
            found[path] = entries
    everything = [entry for entries in found.values() for entry in entries]
    if action == "list":
        return everything
    if not everything:
        raise UsageError(f"{action} module {module!r}: no 'differ run' of this project runs", hint="start 'differ run'")
    hosts = [path for path, entries in found.items() if any(_is_meant(entry, module) for entry in entries)]
    if not hosts:
        known = sorted({entry["module"] for entry in everything})
        meant = f"sinks.{str(module).removeprefix('sink.')}"
        raise UsageError(
            f"{action} module {module!r}: no running process hosts it",
            hint=f"did you mean {meant!r}?" if meant in known else f"hosted now: {', '.join(known)}",
        )
    answers = [_ask_one(path, action, module, ANSWER_SECONDS) for path in hosts]
    return [entry for entries in answers if entries for entry in entries]


def _silent(path: Path, error: BusyError) -> dict[str, Any]:
    """The entry of a process that does not answer: frozen, or out of breath."""
    return {
        "module": "?",
        "state": "failed",
        "since": None,
        "error": error.message,
        "restart_seconds": None,
        "process": int(path.stem),
        "status": {},
    }


def _is_meant(entry: Mapping[str, Any], module: str | None) -> bool:
    return entry["module"] == module or str(entry["module"]).startswith(f"{module}.")


def _sockets(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.sock")) if folder.is_dir() else []


def _ask_one(path: Path, action: str, module: str | None, seconds: float) -> list[dict[str, Any]] | None:
    """A process's modules, or None when it is gone (then its socket is removed)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, short_path(path) as short:
        connection.settimeout(seconds)
        try:
            connection.connect(short)
            connection.sendall(json.dumps({"do": action, "module": module}).encode() + b"\n")
            line = connection.makefile("rb").readline()
        except (ConnectionError, FileNotFoundError):  # it is gone, or goes just now
            path.unlink(missing_ok=True)
            return None
        except TimeoutError:
            raise BusyError(f"ask process {path.stem}: no answer after {seconds:g} s") from None
    if not line:
        return None
    answer = json.loads(line)
    if "error" in answer:
        raise UsageError(answer["error"]["message"], hint=answer["error"]["hint"])
    modules: list[dict[str, Any]] = answer["modules"]
    return modules
