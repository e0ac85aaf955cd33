"""A child process that scans a source and waits in the middle of it: `python -m tests.catalog.holding FOLDER SOURCE`.

Says `reading` once it holds the source's lock and reads, goes on when it is told so, and then says its result.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import differ

PLUGIN = """
import sys
from differ.iterators import iterator

@iterator(key="id", consistent=True)
def holding(ctx):
    yield [{"id": 1, "v": "child"}]
    print("reading", flush=True)
    sys.stdin.readline()
"""


class Child:
    """The child process; a context manager that leaves none behind."""

    def __init__(self, folder: Path, source: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalog.holding", str(folder), source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_reading(self) -> None:
        """Wait until the child is in the middle of its scan."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "reading\n"

    def go_on(self) -> dict[str, Any]:
        """Let it end its scan; returns what it made of it."""
        out, _ = self._process.communicate("go\n", timeout=60)
        result: dict[str, Any] = json.loads(out)
        return result

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *details: object) -> None:
        self._process.kill()
        self._process.wait(30)


if __name__ == "__main__":
    with differ.open(sys.argv[1]) as project:
        found = project.scan(sys.argv[2])
        print(json.dumps({"status": found.status, "exit_code": found.exit_code, "error": found.error}), flush=True)  # noqa: T201
