"""How often and how patiently is tried again: with exponential back-off and jitter, never in a hurry, never unbounded.

Invariant: a wait ends at once when the run is told to stop; a streak of failures ends with the first success.
Source: tenacity; "Exponential Backoff And Jitter", AWS Architecture Blog.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, sleep_using_event, wait_exponential, wait_random

from differ.errors import RelayUnavailableError, UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """What a run bears before it gives up.

    attempts: how often an event (or a callback that concerns none) may fail. first_seconds, most_seconds: the first
    and the longest wait between two attempts; each is up to `first_seconds` longer, by chance. callback_seconds: how
    long a callback may take (None: for ever). give_up_after: seconds after which a relay that stays away, or a
    consumer that keeps asking for another try, ends the run (None: never).
    """

    attempts: int = 5
    first_seconds: float = 0.2
    most_seconds: float = 30.0
    callback_seconds: float | None = None
    give_up_after: float | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise UsageError(f"retries: attempts={self.attempts}", hint="at least 1")
        if not 0 <= self.first_seconds <= self.most_seconds:
            raise UsageError(
                f"retries: first_seconds={self.first_seconds}, most_seconds={self.most_seconds}",
                hint="0 <= first_seconds <= most_seconds",
            )
        for name in ("callback_seconds", "give_up_after"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"retries: {name}={value}", hint="more than 0, or None for no limit")


class Backoff:
    """The waits of one streak of failures. For one thread; `stop` may be set by any."""

    def __init__(self, retries: Retries, stop: threading.Event, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._retries, self._stop, self._clock = retries, stop, clock
        self._retrying = Retrying(
            wait=wait_exponential(multiplier=retries.first_seconds, max=retries.most_seconds)
            + wait_random(0, retries.first_seconds),
            sleep=sleep_using_event(stop),
        )
        self._streak: tuple[RetryCallState, float] | None = None

    @property
    def waited(self) -> int:
        """How many waits this streak has had."""
        return 0 if self._streak is None else self._streak[0].attempt_number - 1

    @property
    def stopped(self) -> bool:
        """Whether the run was told to stop, so that nothing should be tried again."""
        return self._stop.is_set()

    def reset(self) -> None:
        """It worked: the next failure begins a new streak."""
        self._streak = None

    def wait(self, error: Exception, *, bounded: bool = True) -> None:
        """Sleep before the next attempt; returns at once when told to stop.

        Raises `error` when the streak has lasted longer than `give_up_after`, unless something else bounds it.
        """
        if self._streak is None:
            if isinstance(error, RelayUnavailableError):
                log.warning("waiting for the relay: %s", error.message)
            self._streak = RetryCallState(self._retrying, None, (), {}), self._clock()
        state, began = self._streak
        limit = self._retries.give_up_after
        if bounded and limit is not None and self._clock() - began >= limit:
            raise error
        self._retrying.sleep(self._retrying.wait(state))
        state.prepare_for_next_attempt()
