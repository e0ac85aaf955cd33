"""A child that scans a source and stops in the middle of its retirement: `-m tests.relay.retiring FOLDER SOURCE POINT`.

Says `there` at the point, goes on when it is told so, and then says how the scan ended. POINT `-` is none.
"""

import subprocess
import sys
from pathlib import Path

import differ
from differ.storage import seam


class Retiring:
    """The child process; a context manager that leaves none behind."""

    def __init__(self, folder: Path, source: str, point: str = "-") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.relay.retiring", str(folder), source, point],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def wait(self) -> None:
        """Wait until the child is at its point."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "there\n"

    def go_on(self) -> str:
        """Let it end; returns the status of its scan."""
        out, _ = self._process.communicate("go\n", timeout=60)
        return out.strip()

    def __enter__(self) -> "Retiring":
        return self

    def __exit__(self, *details: object) -> None:
        self._process.kill()
        self._process.wait(30)


def _stop_at(point: str) -> None:
    def listener(found: str) -> None:
        if found == point:
            print("there", flush=True)  # noqa: T201
            sys.stdin.readline()

    seam.listen(listener)


if __name__ == "__main__":
    _stop_at(sys.argv[3])
    with differ.open(sys.argv[1]) as project:
        print(project.scan(sys.argv[2]).status, flush=True)  # noqa: T201
