"""The modules of one process: all of them started, looked after and stopped, and each one on its own.

Invariants: a module that fails is `failed` with its error and takes no other with it; the process ends in bounded time
after SIGTERM or Ctrl-C, and at once when told a second time.
Source: the runtime of Flipkart's Aesop (its Trooper containers); supervision as in Erlang/OTP.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from differ.errors import DifferError, InterruptedScanError, UsageError
from differ.runtime.control import Control
from differ.runtime.hosted import Hosted
from differ.runtime.module import Module

log = logging.getLogger("differ.runtime")
LOOK_SECONDS = 0.5
STOP_SECONDS_MAX = 80.0
"""The longest that a stop takes: a scheduler gives running cycles 30 s to roll back, and as long again to kill them."""
LAST_TO_STOP = ("relay", "bootstrap")
"""Sinks write their last checkpoint through the relay, so it stops after them."""


class Runtime:
    """The modules of one process. Any thread, but `run_forever`, which is for the main thread."""

    def __init__(self, modules: Mapping[str, Module], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changing = threading.Lock()  # guards who is in _hosted
        self._hosted = {name: Hosted(name, module, clock=clock) for name, module in modules.items()}
        self._ended = threading.Event()

    def describe(self) -> list[dict[str, Any]]:
        """One entry a module, as `Hosted.describe` gives it; at once, also while an action is under way."""
        return [hosted.describe() for hosted in list(self._hosted.values())]

    def names(self, name: str) -> list[str]:
        """The modules that a name means: itself, or for `sinks` all of them; [] where there is none here."""
        return [known for known in list(self._hosted) if known == name or known.startswith(f"{name}.")]

    def act(self, action: str, name: str) -> list[dict[str, Any]]:
        """Start, stop, restart, pause or resume a module, or all `sinks`; returns what they are then.

        Asking for the state it has already is no error. Raises UsageError for a name that is not here, and for what
        makes no sense, such as resuming a stopped module; for `sinks` only where it makes sense for none.
        """
        names = self.names(name)
        if not names:
            raise UsageError(f"{action} module {name!r}: it does not run here", hint=f"here: {', '.join(self._hosted)}")
        refused = self._each(action, names)
        if len(refused) == len(names):
            raise refused[0]
        return [self._hosted[known].describe() for known in names if known in self._hosted]

    def add(self, name: str, module: Module) -> None:
        """Host one more module and start it; in place of what had the name, which is stopped first."""
        self.remove(name)
        hosted = Hosted(name, module, clock=self._clock)
        with self._changing:
            self._hosted = {**self._hosted, name: hosted}
        hosted.act("start")

    def remove(self, name: str) -> None:
        """Stop a module and forget it; nothing where there is none."""
        with self._changing:
            hosted = self._hosted.get(name)
            self._hosted = {known: one for known, one in self._hosted.items() if known != name}
        if hosted is not None:
            hosted.act("stop")

    def start(self) -> None:
        """Start every module in turn, and look after them from then on."""
        for hosted in list(self._hosted.values()):
            hosted.act("start")
        threading.Thread(target=self._look_after_all, name="differ-runtime", daemon=True).start()

    def stop(self) -> None:
        """Stop every module, all at once but the relay and bootstrap, which come last."""
        self._ended.set()
        early = [name for name in self._hosted if name not in LAST_TO_STOP]
        self._each("stop", early)
        self._each("stop", [name for name in LAST_TO_STOP if name in self._hosted])

    def run_forever(self, folder: Path, on_hangup: Callable[[], None] = lambda: None) -> None:
        """Run until SIGTERM or SIGINT, then stop all and return.

        folder: where the control socket is made. on_hangup: what SIGHUP does, in a thread of its own, one at a time.
        Raises InterruptedScanError when told a second time, DifferError for modules that do not stop in time.
        """
        # A handler may interrupt any line of this thread: SimpleQueue.put is made for that, Event.set is not.
        told: SimpleQueue[int] = SimpleQueue()
        hangups: SimpleQueue[int] = SimpleQueue()
        queues = {signal.SIGTERM: told, signal.SIGINT: told, signal.SIGHUP: hangups}

        def put(number: int, _frame: object) -> None:
            queues[signal.Signals(number)].put(number)

        before = {number: signal.signal(number, put) for number in queues}
        try:
            with Control(self, folder):
                self.start()
                threading.Thread(target=_serve, args=(hangups, on_hangup), name="differ-reload", daemon=True).start()
                log.info("runtime: %s, stopping", signal.Signals(_first(told)).name)
                self._stop_in_time(told)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop_in_time(self, told: SimpleQueue[int]) -> None:
        def stop() -> None:
            self.stop()
            told.put(0)

        threading.Thread(target=stop, name="differ-stop", daemon=True).start()
        try:
            number = told.get(timeout=STOP_SECONDS_MAX)
        except Empty:
            left = [one.name for one in self._hosted.values() if one.state in ("running", "paused")]
            raise DifferError(f"stop: {', '.join(left)}: still at work after {STOP_SECONDS_MAX:g} s") from None
        if number:
            raise InterruptedScanError("run: told twice to stop; what was under way is as if it had never been")

    def _each(self, action: str, names: Iterable[str]) -> list[UsageError]:
        """Act on several modules at once; the refusals."""
        refused: list[UsageError] = []

        def act(hosted: Hosted) -> None:
            try:
                hosted.act(action)
            except UsageError as error:
                refused.append(error)

        chosen = [self._hosted[name] for name in names if name in self._hosted]
        threads = [threading.Thread(target=act, args=(hosted,), daemon=True) for hosted in chosen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return refused

    def _look_after_all(self) -> None:
        """Modules are started again in threads of their own: one that takes long to start holds up no other."""
        while not self._ended.wait(LOOK_SECONDS):
            for hosted in list(self._hosted.values()):
                if (again := hosted.look_after()) is not None:
                    threading.Thread(target=again, name=f"start {hosted.name}", daemon=True).start()


def _first(told: SimpleQueue[int]) -> int:
    """The next signal, for the main thread. One that the kernel gives to another thread, as it may when a frozen
    process goes on, ends no wait of this one: its handler runs only when this thread looks up."""
    while True:
        with suppress(Empty):
            return told.get(timeout=LOOK_SECONDS)


def _serve(hangups: SimpleQueue[int], on_hangup: Callable[[], None]) -> None:
    while True:
        hangups.get()
        with suppress(Empty):  # several that came meanwhile are one
            while True:
                hangups.get_nowait()
        on_hangup()
