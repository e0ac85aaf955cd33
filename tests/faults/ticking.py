"""A scheduler whose children do nothing, in a process of its own: `python -m tests.faults.ticking FOLDER`.

Says `NAME started` on stdout for each turn, and ends when stdin does.
"""

import logging
import sys
from pathlib import Path

from differ.config import load
from differ.schedule import Scheduler


class Turns(logging.Handler):
    """Tells of each turn that begins."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("scan ") and ": started" in text:
            sys.stdout.write(f"{text.removeprefix('scan ').partition(':')[0]}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    logger = logging.getLogger("differ.schedule")
    logger.setLevel(logging.INFO)
    logger.addHandler(Turns())
    scheduler = Scheduler(load(Path(sys.argv[1]), environ={}), command=("/bin/true",))
    scheduler.start()
    sys.stdin.read()
    scheduler.stop()
