"""The modules of all processes of a project on this machine, for whoever asks one of them over HTTP.

Invariant: a server is never told to wait for its own end: what stops it goes on after its answer, as `pending`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from differ.runtime.ask import ask
from differ.runtime.face import FACES


class Local(Protocol):
    """The modules of this process."""

    def describe(self) -> list[dict[str, Any]]:
        """One entry a module."""

    def names(self, name: str) -> list[str]:
        """The modules that a name means."""

    def act(self, action: str, name: str) -> list[dict[str, Any]]:
        """Act, and say what is so then."""


class Everywhere:
    """Implements `ModuleControl` of the server. local: tells the runtime, which is made later; folder: the sockets."""

    def __init__(self, local: Callable[[], Local], folder: Path) -> None:
        self._local, self._folder = local, folder

    def describe(self) -> Sequence[Mapping[str, Any]]:
        """The modules of every process."""
        return ask(self._folder)

    def act(self, action: str, name: str) -> Sequence[Mapping[str, Any]]:
        """Act on a module wherever it runs. Raises UsageError for what makes no sense, or is not there."""
        local = self._local()
        if name in FACES and action in ("stop", "restart") and local.names(name):
            threading.Thread(target=local.act, args=(action, name), name=f"{action} {name}").start()
            return [entry | {"pending": action} for entry in local.describe() if entry["module"] == name]
        return ask(self._folder, action, name)
