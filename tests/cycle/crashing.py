"""A warm process that forks a child for each crash, so that hundreds of real kills take seconds.

Reads a JSON line {folder, action, source, kill_at}; the child opens the project anew, does the action, and kills itself
with SIGKILL at the point of that number (None: at none). Answers {killed, points}. The warm process imports all that a
cycle needs and runs nothing of it: no thread of a library is there to be lost in a fork.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

WARM = (
    "differ.project",
    "differ.catalog.pins",
    "differ.cycle.care",
    "differ.iterators.sql",
    "differ.iterators.sql.source",
    "differ.iterators.sql.sqlite",
    "differ.records.fingerprints",
    "pandas",
    "polars_hash",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
)


class Crasher:
    """The warm process, as a context manager."""

    def __enter__(self) -> "Crasher":
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cycle.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        return self

    def run(self, folder: Path, action: str, *, source: str = "orders", kill_at: int | None = None) -> dict[str, Any]:
        """Do an action on a project in a child; returns whether it was killed, and the points it passed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"folder": str(folder), "action": action, "source": source, "kill_at": kill_at}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def act(folder: str, action: str, source: str, kill_at: int | None, out: int) -> None:
    """In the child: do the action of a project, on a source but for `gc`, telling each point to `out` before it."""
    import differ
    from differ.storage import seam

    passed = 0

    def listener(point: str) -> None:
        nonlocal passed
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1
        os.write(out, f"{point}\n".encode())

    seam.listen(listener)
    with differ.open(folder) as project:
        if action == "scan":
            status = project.scan(source).status
            assert status in ("committed", "unchanged", "held"), status
        elif action == "gc":
            project.gc()
        else:
            getattr(project, action)(source)


def serve() -> None:
    """Answer orders until the input ends."""
    for module in WARM:
        importlib.import_module(module)
    gc.freeze()  # A child that collects garbage would copy all of these pages.
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            code = 1
            try:
                act(order["folder"], order["action"], order["source"], order["kill_at"], writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as told:
            points = told.read().split()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        if not killed and os.WEXITSTATUS(status) != 0:
            raise SystemExit("the child failed")
        sys.stdout.write(json.dumps({"killed": killed, "points": points}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
