"""A member of a consumer group as a process of its own: `python -m tests.client.member URL LOG LEASE PAUSE START`.

Writes a JSON line to LOG for each callback before it does anything else, and takes PAUSE seconds for each event.
SIGTERM ends it in good order.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from differ.client import Checkpoint, Client, Consumer, Next, Pace
from differ.model import ChangeEvent


class Writer(Consumer):
    """Each line: what, when (a clock that all processes share), and SCN and key of an event."""

    def __init__(self, path: str, pause: float) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._pause = pause

    def write(self, what: str, **more: Any) -> None:
        line = json.dumps({"what": what, "at": time.monotonic_ns(), **more})
        os.write(self._file, line.encode() + b"\n")

    def on_event(self, event: ChangeEvent) -> Next | None:
        self.write("event", scn=event.scn, key=event.key["id"], baseline=event.baseline)
        time.sleep(self._pause)
        return None

    def on_bootstrap_event(self, event: ChangeEvent) -> Next | None:
        self.write("row", scn=event.scn, key=event.key["id"])
        return None

    def on_checkpoint(self, checkpoint: Checkpoint) -> Next | None:
        self.write("checkpoint", scn=checkpoint.cursor.scn)
        return None

    def on_rollback(self, checkpoint: Checkpoint) -> Next | None:
        self.write("rollback", scn=checkpoint.cursor.scn)
        return None

    def on_stop(self) -> None:
        self.write("stop")


@dataclass(frozen=True)
class Line:
    """A line of a member's log."""

    what: str
    at: int
    scn: int = 0
    key: int = 0
    baseline: bool = False


class Member:
    """The process; a context manager that leaves none behind."""

    def __init__(self, url: str, log: Path, *, lease: float = 1.5, pause: float = 0.002, start: str = "oldest") -> None:
        self._log = log
        arguments = [url, str(log), str(lease), str(pause), start]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.member", *arguments], cwd=Path(__file__).parents[2]
        )

    @property
    def lines(self) -> list[Line]:
        """What it has written so far; a line that was cut by its death is none."""
        text = self._log.read_text() if self._log.exists() else ""
        return [Line(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def events(self) -> list[Line]:
        return [line for line in self.lines if line.what == "event"]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """In good order."""
        self.send(signal.SIGTERM)
        assert self.process.wait(30) == 0

    def __enter__(self) -> "Member":
        return self

    def __exit__(self, *details: object) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait(30)


def main(url: str, log: str, lease: str, pause: str, start: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Client(url).run(
        Writer(log, float(pause)),
        name="index",
        group=True,
        lease_seconds=float(lease),
        start=start,  # type: ignore[arg-type]
        pace=Pace(checkpoint_seconds=0.1, idle_seconds=0.2),
        stop=stop,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
