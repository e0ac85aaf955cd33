"""To kill the process of a sink again and again, while its source changes."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.sinks.rig import Rig


@contextmanager
def process(rig: Rig, sink: dict[str, Any]) -> Iterator[None]:
    """A process that runs the sink, until it is killed."""
    command = [sys.executable, "-m", "tests.sinks.killed", str(rig.world.folder), rig.url, json.dumps(sink)]
    running = subprocess.Popen(command)
    try:
        yield
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def shuffled(rows: dict[int, int], chance: random.Random, *, changed: int, fresh: int) -> list[dict[str, int]]:
    """Change or delete some of the rows, and write others, which may be there already; returns the source's rows."""
    for n in chance.sample(sorted(rows), changed):
        if chance.random() < 0.3:
            del rows[n]
        else:
            rows[n] = chance.randrange(10**6)
    rows.update({fresh + n: n for n in chance.sample(range(fresh), 100)})
    return [{"id": n, "v": v} for n, v in sorted(rows.items())]
