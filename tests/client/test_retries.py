"""Waits between attempts, on a clock of the test's own: they grow, have a longest, and end where that was asked for."""

import threading

import pytest

from differ.client import Retries
from differ.client.retries import Backoff
from differ.config.sink import RetrySettings
from differ.errors import SinkUnavailableError

OUTAGE = SinkUnavailableError("the place is down")


class Time(threading.Event):
    """An event that nobody sets: waiting for it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return self.is_set()


def backoff(time: Time, give_up_after: float | None) -> Backoff:
    """As a sink has it that configures nothing."""
    usual = RetrySettings()
    retries = Retries(
        first_seconds=usual.first_seconds, most_seconds=usual.longest_seconds, give_up_after=give_up_after
    )
    return Backoff(retries, time, clock=lambda: time.now)


def test_ten_minutes_are_a_handful_of_tries() -> None:
    time = Time()
    waiting = backoff(time, None)
    while time.now < 600:
        waiting.wait(OUTAGE)
    assert 10 <= len(time.waits) <= 20
    for number, wait in enumerate(time.waits):
        least = min(2.0**number, 60.0)
        assert least <= wait <= least + 1
    assert len({wait % 1 for wait in time.waits}) > 1, "there is no jitter"
    waiting.reset()
    waiting.wait(OUTAGE)
    assert 1 <= time.waits[-1] <= 2


def test_it_yields_after_as_long_as_it_was_told() -> None:
    time = Time()
    waiting = backoff(time, RetrySettings().yield_seconds)
    while time.now < 120:
        waiting.wait(OUTAGE)
    with pytest.raises(SinkUnavailableError, match="the place is down"):
        waiting.wait(OUTAGE)
    assert 120 <= time.now < 120 + 61


def test_what_something_else_bounds_never_ends_it() -> None:
    time = Time()
    waiting = backoff(time, 1)
    for _ in range(100):
        waiting.wait(OUTAGE, bounded=False)
    assert max(time.waits) <= 61


def test_a_stop_ends_the_wait() -> None:
    stop = threading.Event()
    waiting = Backoff(Retries(first_seconds=3600, most_seconds=3600), stop)
    thread = threading.Thread(target=waiting.wait, args=(OUTAGE,))
    thread.start()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
