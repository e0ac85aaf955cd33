"""Ctrl-C and SIGTERM: both raise KeyboardInterrupt, but not while a commit is on its way.

A commit takes milliseconds; what it made must then be told and not rolled back. So a signal that comes inside `shield`
is kept, and raised at the end of it or asked for with `pending`.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """The signals of one command."""

    def __init__(self) -> None:
        self.pending = False
        self._shielded = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM inside; outside the main thread nothing is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait_for_line(self, descriptor: int) -> None:
        """Wait until a line can be read there. A signal ends the wait, also one that comes just before it begins.

        Inside Python's own `input` such a signal is only looked at after the next key.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        try:
            select.select([descriptor, read], [], [])
        finally:
            signal.set_wakeup_fd(before)
            os.close(read)
            os.close(write)

    def shield(self) -> None:
        """Keep what comes from now on, until `release`; idempotent."""
        self._shielded = True

    def release(self) -> None:
        """Let signals raise again; what was kept stays in `pending`."""
        self._shielded = False

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Keep what comes inside."""
        self.shield()
        try:
            yield
        finally:
            self.release()

    def check(self) -> None:
        """Raise KeyboardInterrupt where a signal was kept."""
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: object) -> None:
        if self._shielded:
            self.pending = True
            return
        raise KeyboardInterrupt
