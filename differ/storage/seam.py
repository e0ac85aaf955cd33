"""Named points of the road where a process may be killed or a write may fail.

Every durable step announces itself here first (`at("file.fsync", path)`). In production nothing listens and the call
costs a look at an empty list; the fault tests install a listener that kills the process, raises, or writes down what is
done, to replay what a loss of power may leave of it.

Source: FoundationDB's and TigerBeetle's fault points; LevelDB's fault-injection Env; ALICE's traces (OSDI 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One step that is about to happen. path: what it acts on, to: the new name of what is renamed, data: what is
    written (a buffer, valid during the call), size: the new size of what is cut; None where there is no such thing."""

    point: str
    path: Path | None = None
    to: Path | None = None
    data: Any = None
    size: int | None = None


Listener = Callable[[str], None]
Watcher = Callable[[Step], None]
_watchers: list[Watcher] = []


def at(
    point: str, path: Path | None = None, *, to: Path | None = None, data: Any = None, size: int | None = None
) -> None:
    """Announce that the step `point` is about to happen."""
    if _watchers:
        step = Step(point, path, to, data, size)
        for watcher in _watchers:
            watcher(step)


def watch(watcher: Watcher) -> Callable[[], None]:
    """Call `watcher` at every step from now on, in this process; the returned function ends it."""
    _watchers.append(watcher)
    return lambda: _watchers.remove(watcher)


def listen(listener: Listener) -> Callable[[], None]:
    """The same for who wants to know the names of the points alone."""
    return watch(lambda step: listener(step.point))
