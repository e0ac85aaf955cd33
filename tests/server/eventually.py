"""Wait for what another thread is about to do, on a condition and never on a span of time."""

import time
from collections.abc import Callable

SECONDS = 30.0


def eventually(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; fail when it does not for SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
