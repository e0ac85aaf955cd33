"""One module inside a runtime: which state it is in, why, and what brings it into another.

    stopped ── start ──> running ── pause ──> paused        start of what runs, stop of what is stopped: nothing to do
       ^ ^                │  ^ └── resume ────┘             restart: stop, then start, whatever it was
       │ └── stop ────────┘  │
       │                     │ start, or by itself after a wait
       └── stop ── failed <──┴── whatever raises, or ends by itself

Invariants: one action at a time; a failed module has been stopped, so it holds nothing; only what was running or paused
starts again by itself, and a paused one comes back paused.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from differ.errors import DifferError, UsageError, redact
from differ.runtime.module import ACTIONS, HEALTHY_SECONDS, Module, State, restart_seconds, stays_failed

log = logging.getLogger("differ.runtime")


class Hosted:
    """A module with its state. Any thread; actions wait for each other.

    clock: seconds that only grow, for the waits before a restart.
    """

    def __init__(self, name: str, module: Module, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.module = module
        self.state: State = "stopped"
        self.error: str | None = None
        self._clock = clock
        self._turn = threading.Lock()
        self._since = datetime.now(UTC)
        self._entered = clock()
        self._failures = 0
        self._again_at: float | None = None
        self._again_paused = False

    def describe(self) -> dict[str, Any]:
        """name, state, since when, error, seconds to the next start by itself (or None), process, and its own facts."""
        again_at = self._again_at
        return {
            "module": self.name,
            "state": self.state,
            "since": self._since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "error": self.error,
            "restart_seconds": None if again_at is None else round(max(0.0, again_at - self._clock()), 1),
            "process": os.getpid(),
            "status": self._status(),
        }

    def _status(self) -> dict[str, Any]:
        if self.state not in ("running", "paused"):
            return {}
        try:
            return dict(self.module.status())
        except Exception as error:  # it must not hide the other modules
            return {"error": _told(error)}

    def act(self, action: str) -> None:
        """Carry out an action; asking for the state it has already is no error. A failure of the module is its state.

        Raises UsageError for what makes no sense, such as resuming a stopped module.
        """
        with self._turn:
            if action not in ACTIONS:
                raise UsageError(f"module: there is no action {action!r}", hint=f"there is: {', '.join(ACTIONS)}")
            if action in ("pause", "resume") and self.state not in ("running", "paused"):
                raise UsageError(
                    f"{action} module {self.name}: it is {self.state}",
                    hint=f"start it first: 'differ modules start {self.name}'",
                )
            self._failures = 0
            self._carry_out(action)

    def look_after(self) -> Callable[[], None] | None:
        """Notice what ended by itself; returns what starts it again when it is time for that. Called now and then."""
        if not self._turn.acquire(blocking=False):
            return None  # somebody acts on it just now
        try:
            if self.state in ("running", "paused"):
                if (error := self.module.failure()) is not None:
                    self._fail(error)
                elif self._failures and self._clock() - self._entered >= HEALTHY_SECONDS:
                    self._failures = 0
            due = self._again_at is not None and self._clock() >= self._again_at
            return self._start_again if due else None
        finally:
            self._turn.release()

    def _start_again(self) -> None:
        with self._turn:
            if self.state != "failed" or self._again_at is None:
                return  # a person was quicker
            paused = self._again_paused
            self._carry_out("start")
            if paused:
                self._carry_out("pause")  # nothing, where it failed again

    def _carry_out(self, action: str) -> None:
        try:
            if action in ("stop", "restart") and self.state != "stopped":
                self.module.stop()
                self._enter("stopped")
            if action in ("start", "restart") and self.state in ("stopped", "failed"):
                self.module.start()
                self._enter("running")
            if action == "pause" and self.state == "running":
                self.module.pause()
                self._enter("paused")
            if action == "resume" and self.state == "paused":
                self.module.resume()
                self._enter("running")
        except Exception as error:
            self._fail(error, again=action != "stop")

    def _enter(self, state: State, error: str | None = None) -> None:
        self.state, self.error = state, error
        self._since, self._entered = datetime.now(UTC), self._clock()
        self._again_at = None
        if state != "failed":
            log.info("module %s: %s", self.name, state)

    def _fail(self, error: BaseException, *, again: bool = True) -> None:
        """The module is failed; what it may have left is taken away, and the next start is planned."""
        self._again_paused = self.state == "paused"
        try:
            self.module.stop()
        except Exception as more:
            log.warning("module %s: after its failure it did not stop either: %s", self.name, _told(more))
        self._enter("failed", _told(error))
        log.debug("module %s: the error came from", self.name, exc_info=error)
        if not again or stays_failed(error):
            log.error("module %s failed: %s", self.name, self.error)
            return
        self._failures += 1
        seconds = restart_seconds(self._failures)
        self._again_at = self._clock() + seconds
        log.error("module %s failed, and is started again in %g s: %s", self.name, seconds, self.error)


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, DifferError) else redact(f"{type(error).__name__}: {error}")
