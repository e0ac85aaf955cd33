"""A column that gets another type in the middle of the stream: each image is written by the types of its own schema."""

import sqlite3
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from tests.sinks.rig import Rig

BEFORE = [{"id": 1, "v": Decimal("1.50")}, {"id": 2, "v": Decimal("2.50")}, {"id": 3, "v": Decimal("3.50")}]
AFTER = [{"id": 2, "v": "two"}, {"id": 3, "v": "three"}]
"""The delete comes first in its window, with the types that there were before."""


@pytest.mark.parametrize("hooks", [{}, {"after": "same.py:same"}], ids=["plain", "hooks"])
def test_a_window_that_begins_with_a_delete_is_written_by_the_new_types(rig: Rig, hooks: dict[str, str]) -> None:
    (rig.world.folder / "same.py").write_text("def same(document, event):\n    return document\n")
    files = rig.start(rig.sink("out", kind="files", options={"folder": "out"}, start="oldest", hooks=hooks))
    held = rig.sink("held", hooks=hooks)
    states = rig.start(held)
    rig.world.commit("orders", BEFORE)
    rig.until_head(files)
    rig.until_head(states)
    rig.world.commit("orders", AFTER)
    rig.until_head(files)
    rig.until_head(states)
    assert (files.status()["refused"], states.status()["refused"]) == (0, 0)
    newest = max((rig.world.folder / "out").glob("*/events/orders/*.parquet"))
    documents = pq.read_table(newest)["document"].to_pylist()
    assert documents == [None, *AFTER]


def test_a_column_of_sql_that_may_hold_the_new_values_is_given_them(rig: Rig) -> None:
    """SQLite keeps decimals in a column of text."""
    runner = rig.start(rig.sink(kind="sql", options={"url": "sqlite:///copy.db"}))
    rig.world.commit("orders", BEFORE)
    rig.until_head(runner)
    rig.world.commit("orders", AFTER)
    rig.until_head(runner)
    assert runner.status()["refused"] == 0
    with sqlite3.connect(rig.world.folder / "copy.db") as connection:
        assert connection.execute("SELECT id, v FROM orders ORDER BY id").fetchall() == [(2, "two"), (3, "three")]
