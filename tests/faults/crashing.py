"""A warm process that forks a child for each crash, so that hundreds of real kills take seconds.

Reads a JSON line {folder, scenario, part, kill_at, kill_after}; the child opens the project anew, does that part of the
scenario (`act` or `recover`; without a scenario: a command and its source, such as `scan orders`), and is killed by
SIGKILL at the point of that number, or after so many seconds (None: not at all). Answers {killed, points, seconds}. The
warm process imports all that a cycle needs and runs nothing of it: no thread of a library could be lost in a fork.
"""

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

WARM = (
    "differ.project",
    "differ.catalog.pins",
    "differ.cycle.care",
    "differ.cycle.check",
    "differ.iterators.sql",
    "differ.iterators.sql.source",
    "differ.iterators.sql.sqlite",
    "differ.records.fingerprints",
    "differ.relay.reader",
    "pandas",
    "polars_hash",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "tests.faults.scenarios",
)


class Crasher:
    """The warm process, as a context manager."""

    def __enter__(self) -> "Crasher":
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        return self

    def run(
        self,
        folder: Path,
        scenario: str | None,
        part: str = "act",
        *,
        kill_at: int | None = None,
        kill_after: float | None = None,
    ) -> dict[str, Any]:
        """Do a part of a scenario in a child; returns whether it was killed, the points it passed, and how long it
        took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"folder": str(folder), "scenario": scenario, "part": part}
        order |= {"kill_at": kill_at, "kill_after": kill_after}  # type: ignore[dict-item]
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "failed" not in answer, answer
        return answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def act(folder: str, scenario: str | None, part: str, kill_at: int | None, out: int) -> None:
    """In the child: do it, telling each point to `out` before it."""
    import differ
    from differ.storage import seam
    from tests.faults.scenarios import SCENARIOS

    passed = 0
    turn = threading.Lock()

    def listener(point: str) -> None:
        nonlocal passed
        with turn:
            if passed == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1
            os.write(out, f"{point}\n".encode())

    seam.listen(listener)
    with differ.open(folder) as project:
        if scenario is None:
            command(project, *part.split())
        else:
            getattr(SCENARIOS[scenario], part)(project)


def command(project: Any, name: str, *source: str) -> None:
    """What a person would ask of a project, such as `scan orders` or `gc`."""
    result = getattr(project, name)(*source)
    assert name != "scan" or result.status in ("committed", "unchanged", "held"), result


def serve() -> None:
    """Answer orders until the input ends."""
    for module in WARM:
        importlib.import_module(module)
    gc.freeze()  # A child that collects garbage would copy all of these pages.
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(reading)
            code = 1
            try:
                act(order["folder"], order["scenario"], order["part"], order["kill_at"], writing)
                code = 0
            finally:
                if code:
                    sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
                os._exit(code)
        os.close(writing)
        told = b""
        while True:
            left = None if order["kill_after"] is None else order["kill_after"] - (time.monotonic() - started)
            if left is None or select.select([reading], [], [], max(0.0, left))[0]:
                piece = os.read(reading, 65_536)
                if not piece:
                    break
                told += piece
            else:
                order["kill_after"] = None
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        os.close(reading)
        _, status = os.waitpid(child, 0)
        seconds = time.monotonic() - started
        killed = os.WIFSIGNALED(status)
        if not killed and os.WEXITSTATUS(status) != 0:
            sys.stdout.write(json.dumps({"failed": order}) + "\n")
            sys.stdout.flush()
            continue
        sys.stdout.write(json.dumps({"killed": killed, "points": told.decode().split(), "seconds": seconds}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
