"""A sink's process that is killed at any moment: the destination holds the source's state in the end."""

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.server.eventually import eventually
from tests.sinks.killing import process, shuffled
from tests.sinks.rig import Rig

ROWS = 3_000


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
        rig.world.commit("orders", shuffled(rows, chance, changed=400, fresh=ROWS))
    with process(rig, sink):
        eventually(lambda: dict(query(file, "SELECT id, v FROM orders")) == rows)
    assert len(query(file, "SELECT id FROM orders")) == len(rows), f"seed {seed}"
    assert [name for (name,) in query(file, "SELECT name FROM sqlite_master WHERE type = 'table'")] == [
        "differ_checkpoints", "orders",
    ]  # fmt: skip
