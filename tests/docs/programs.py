"""The programs of a page, run one after the other as one, so that later ones use what earlier ones made."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.test_readme import assert_shown

_MARK = "-- next block --"


def run_programs(folder: Path, programs: list[str], shown: list[str]) -> None:
    """Each must print what the page shows after it. folder: where they run."""
    program = folder / "program.py"
    program.write_text(f"\nprint({_MARK!r})\n".join(programs))
    done = subprocess.run(
        [sys.executable, program],
        cwd=folder, env=os.environ, check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(f"{_MARK}\n")
    assert len(printed) == len(programs)
    for output, expected, body in zip(printed, shown, programs, strict=True):
        assert_shown(output, expected, body)
