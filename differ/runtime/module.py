"""What the runtime hosts: the contract of a module, and how long to wait before a failed one is started again.

A module that fails for a passing reason (a server that is down, a port that is still taken, an exception nobody
foresaw) is started again, after 1 s, then 2 s, 4 s and so on up to a minute. One that fails with a DifferError that is
not transient and that the operating system did not cause (a wrong option, a missing driver, a record that a destination
refuses) stays failed: the same would happen again, and a person must mend it.

Invariant: `stop` may follow anything, also a `start` that raised, and leaves nothing behind.
Source: the restart strategies of Erlang/OTP's supervisors; the module life cycle of Flipkart's Aesop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from differ.errors import DifferError

State = Literal["stopped", "running", "paused", "failed"]
ACTIONS = ("start", "stop", "restart", "pause", "resume")
RESTART_SECONDS_FIRST = 1.0
RESTART_SECONDS_MAX = 60.0
HEALTHY_SECONDS = 60.0
"""Whoever ran this long is well again: its next failure is counted as the first one."""


class Module(Protocol):
    """A part of the runtime. `start` to `resume` return when they are done; they are made one at a time."""

    def start(self) -> None:
        """Begin to work. Raises what prevents it."""

    def stop(self) -> None:
        """End all work, in bounded time; `start` may follow. Idempotent."""

    def pause(self) -> None:
        """Begin nothing new; what is under way ends by itself."""

    def resume(self) -> None:
        """Begin new work again."""

    def failure(self) -> BaseException | None:
        """What ended the work by itself since `start`, or None while all is well. Any thread, at once."""

    def status(self) -> Mapping[str, Any]:
        """Facts of the module for people and metrics, as JSON has them. Any thread, at once."""


def stays_failed(error: BaseException) -> bool:
    """Whether the same would happen again, so that nothing but a person's action starts the module."""
    return isinstance(error, DifferError) and not error.transient and not isinstance(error.__cause__, OSError)


def restart_seconds(failures: int) -> float:
    """How long to wait after this many failures in a row, 1 or more."""
    return min(RESTART_SECONDS_MAX, RESTART_SECONDS_FIRST * 2.0 ** min(failures - 1, 16))
