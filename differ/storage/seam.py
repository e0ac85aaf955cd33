"""Named points of the road where a process may be killed or a write may fail.

Every durable step announces itself here first (`at("file.fsync")`). In production nothing listens and the call costs a
dictionary look-up; the fault tests install a listener that kills the process or raises.

Source: FoundationDB's and TigerBeetle's fault points; LevelDB's fault-injection Env.
"""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str], None]
_listeners: list[Listener] = []


def at(point: str) -> None:
    """Announce that the step `point` is about to happen."""
    for listener in _listeners:
        listener(point)


def listen(listener: Listener) -> Callable[[], None]:
    """Call `listener` at every point from now on, in this process; the returned function ends it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)
