"""A wall clock that a test sets while real processes run: a small library that is loaded before libc (clock.c)."""

import shutil
import struct
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("clock.c")


class WallClock:
    """The clock of the processes that run with `environment`; it goes on from where it is set."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("a clock that can be set needs a C compiler")
        library = folder / "clock.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
        self.path = folder / "clock"
        self.move_to_offset(timedelta())
        self.environment = {"LD_PRELOAD": str(library), "DIFFER_TEST_CLOCK": str(self.path)}

    def move_to_offset(self, offset: timedelta) -> None:
        """Set it to so much more than the real clock."""
        write_offset(self.path, offset)

    def set(self, moment: datetime) -> None:
        """Set it to a moment."""
        self.move_to_offset(moment - datetime.fromtimestamp(time.time(), UTC))


def write_offset(path: Path, offset: timedelta) -> None:
    """Set a clock; also from the processes that live by it. The file stays the same one: it is mapped."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(struct.pack("=q", offset // timedelta(microseconds=1) * 1000))
