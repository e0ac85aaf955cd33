"""A sink's process that is killed at any moment: the destination holds the source's state in the end."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.eventually import eventually
from tests.sinks.rig import Rig

ROWS = 3_000


@contextmanager
def process(rig: Rig, sink: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.sinks.killed", str(rig.world.folder), rig.url, json.dumps(sink)]
    running = subprocess.Popen(command)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def query(file: Path, text: str) -> list[tuple[Any, ...]]:
    if not file.exists():
        return []
    connection = sqlite3.connect(file, timeout=30)
    try:
        return connection.execute(text).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return []
    finally:
        connection.close()


@pytest.mark.crash
@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again(rig: Rig, tmp_path: Path) -> None:
    """In the middle of a bootstrap and of the stream, while the source changes and stale rows lie there."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    rows = {n: n for n in range(ROWS)}
    rig.world.commit("orders", [{"id": n, "v": v} for n, v in rows.items()])
    file = tmp_path / "mirror.db"
    sink = {
        "kind": "sql", "sources": ["orders"], "options": {"url": f"sqlite:///{file}"}, "lease": "1s",
        "batch": {"events": 100}, "retries": {"first": "1ms", "longest": "10ms"},
    }  # fmt: skip
    state = "SELECT checkpoint FROM differ_checkpoints"
    for _ in range(6):
        before = query(file, state)
        with process(rig, sink):
            eventually(lambda before=before: query(file, state) not in (before, [(None,)], []))
        for n in chance.sample(sorted(rows), 400):
            if chance.random() < 0.3:
                del rows[n]
            else:
                rows[n] = chance.randrange(10**6)
        rows |= {ROWS + n: n for n in chance.sample(range(ROWS), 100)}
        rig.world.commit("orders", [{"id": n, "v": v} for n, v in sorted(rows.items())])
    with process(rig, sink):
        eventually(lambda: dict(query(file, "SELECT id, v FROM orders")) == rows)
    assert len(query(file, "SELECT id FROM orders")) == len(rows), f"seed {seed}"
    assert [name for (name,) in query(file, "SELECT name FROM sqlite_master WHERE type = 'table'")] == [
        "differ_checkpoints", "orders",
    ]  # fmt: skip
