"""What a broken iterator gets: one error that names the source, an exit code, nothing committed, no other harmed."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from differ.cycle import procedure
from differ.cycle.procedure import RunOptions
from differ.errors import InterruptedScanError
from differ.iterators import Context
from tests.cycle.world import World, numbered

Batches = Callable[[Context], Iterator[Any]]


def raises(ctx: Context) -> Iterator[Any]:
    yield numbered("a", "b")
    raise ConnectionError("the store is gone")


def exits(ctx: Context) -> Iterator[Any]:
    yield numbered("a")
    sys.exit(3)


def ragged(ctx: Context) -> Iterator[Any]:
    yield [{"id": 1, "v": "a"}, {"id": 2}]


def yields_numbers(ctx: Context) -> Iterator[Any]:
    yield 42


def twice_in_a_batch(ctx: Context) -> Iterator[Any]:
    yield numbered("a", "b") + numbered("c", first=77) + numbered("d", first=77)


def twice_in_two_batches(ctx: Context) -> Iterator[Any]:
    yield numbered("a", "b")
    yield numbered("c", first=77)
    yield numbered("d", first=77)


def known_key_in_two_batches(ctx: Context) -> Iterator[Any]:
    yield numbered("a", "b")
    yield numbered("c", first=2)


def null_key(ctx: Context) -> Iterator[Any]:
    yield [{"id": 1, "v": "a"}, {"id": None, "v": "b"}]


def missing_key(ctx: Context) -> Iterator[Any]:
    yield [{"v": "a"}]


def mixed_types(ctx: Context) -> Iterator[Any]:
    yield pa.table({"id": [1], "v": ["a"]})
    yield pa.table({"id": [2], "v": [2]})


def columns_in_mid_scan(ctx: Context) -> Iterator[Any]:
    yield pd.DataFrame({"id": [1], "v": ["a"]})
    yield pd.DataFrame({"id": [2], "w": ["a"]})


BROKEN: list[tuple[Batches, str]] = [
    (raises, "ConnectionError"),
    (exits, "SystemExit"),
    (ragged, "'v'"),
    (yields_numbers, "int"),
    (twice_in_a_batch, '{"id":77}'),
    (twice_in_two_batches, '{"id":77}'),
    (known_key_in_two_batches, '{"id":2}'),
    (null_key, "id"),
    (missing_key, "id"),
    (mixed_types, "'v'"),
    (columns_in_mid_scan, "column"),
]


@pytest.mark.parametrize("settings", [{}, {"executor": {"memory": 0}}], ids=["roomy", "spilling"])
@pytest.mark.parametrize("first", [True, False], ids=["first scan", "later scan"])
@pytest.mark.parametrize(("batches", "named"), BROKEN, ids=[batches.__name__ for batches, _ in BROKEN])
def test_a_broken_iterator_commits_nothing(
    world: World, batches: Batches, named: str, first: bool, settings: dict[str, Any]
) -> None:
    world.settings |= settings
    world.fed("orders", numbered("a", "b"))
    world.fed("others", numbered("a"))
    if not first:
        world.commit("orders")
    files = world.files()
    world.feed("orders").splits = [batches]
    results = {result.source: result for result in world.project.scan_all(RunOptions())}
    broken = results["orders"]
    assert (broken.status, broken.exit_code) == ("failed", 3)
    assert "orders" in (broken.error or "")
    assert named in (broken.error or "")
    assert broken.hint
    assert results["others"].status == "committed"
    assert {name for name in world.files() if "/others/" not in name} == files
    world.verify("orders")
    assert world.project.status()["sources"][0]["last_error"] == broken.error
    world.give("orders", numbered("a", "c"))
    assert world.scan("orders").status == "committed"
    assert world.state("orders") == {(1,): {"id": 1, "v": "a"}, (2,): {"id": 2, "v": "c"}}
    world.verify("orders")


@pytest.mark.parametrize("expected", [1, 3])
def test_another_number_of_rows_than_expected_commits_nothing(world: World, expected: int) -> None:
    world.fed("orders", numbered("a", "b"))
    world.feed("orders").expected = expected
    result = world.scan("orders")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert f"2 rows, and its iterator expected {expected}" in (result.error or "")
    world.feed("orders").expected = 2
    assert world.scan("orders").status == "committed"


def test_one_huge_batch_is_cut(world: World) -> None:
    rows = 150_000
    world.fed("orders")
    result = world.commit(
        "orders", pa.table({"id": pa.array(range(rows)), "v": pa.array(range(rows)).cast(pa.string())})
    )
    assert (result.rows, result.inserts) == (rows, rows)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("def broken(:", "broken.py"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("x = 1", "broken"),
        ("@iterator\ndef broken(ctx):\n    yield [{'id': 1}]\n", "key"),
        ("@iterator(key='id')\ndef broken(ctx):\n    return 7\n", "int"),
        ("@iterator(key='id')\nclass broken:\n    def __init__(self, ctx): pass\n", "read"),
        ("@iterator(key='id')\nclass broken:\n    def __init__(self, ctx): 1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_plugin_that_cannot_be_used_harms_no_other_source(world: World, text: str, named: str) -> None:
    world.plugin("broken", f"from differ.iterators import iterator\n{text}")
    world.source("orders", iterator="broken")
    world.fed("others", numbered("a"))
    orders, others = world.project.scan_all()
    assert (orders.status, orders.exit_code in (2, 3), others.status) == ("failed", True, "committed")
    assert named in (orders.error or "")


# -- time ------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a plugin that hangs to close."""
    monkeypatch.setattr(procedure, "CLOSE_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_scan_that_hangs_ends_at_its_timeout(world: World) -> None:
    for_ever = threading.Event()

    def hangs(ctx: Context) -> Iterator[Any]:
        yield numbered("a")
        for_ever.wait()

    world.fed("orders", numbered("a"), timeout="1s")
    world.commit("orders")
    world.feed("orders").splits = [hangs]
    result = world.scan("orders")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "1 s, its timeout" in (result.error or "")
    world.give("orders", numbered("b"))
    assert world.commit("orders").updates == 1
    for_ever.set()
    world.verify("orders")


@pytest.mark.usefixtures("impatient")
def test_a_scan_that_trickles_ends_at_its_timeout_too(world: World) -> None:
    stopped = threading.Event()

    def trickles(ctx: Context) -> Iterator[Any]:
        for number in range(1_000_000):
            if ctx.cancelled.wait(0.01):
                stopped.set()
                return
            yield numbered("a", first=number)

    world.fed("orders", timeout="1s")
    world.feed("orders").splits = [trickles]
    result = world.scan("orders")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert stopped.wait(30), "the plugin was not told to stop"


def test_a_comparison_that_fails_does_not_wait_for_what_was_read_ahead(world: World) -> None:
    def many(ctx: Context) -> Iterator[Any]:
        yield from (numbered("a") for _ in range(50))

    schema = None
    world.fed("orders", numbered("a"))
    world.commit("orders")
    schema = world.project.snapshot("orders").schema
    world.feed("orders").schema = schema
    world.feed("orders").splits = [many]
    started = time.monotonic()
    assert world.scan("orders").status == "failed"
    assert time.monotonic() - started < procedure.CLOSE_SECONDS


def test_a_cancelled_scan_ends_and_commits_nothing(world: World) -> None:
    cancelled = threading.Event()

    def waits(ctx: Context) -> Iterator[Any]:
        yield numbered("a")
        cancelled.set()
        ctx.cancelled.wait(30)
        ctx.check_cancelled()

    world.fed("orders")
    world.feed("orders").splits = [waits]
    with pytest.raises(InterruptedScanError):
        world.project.scan("orders", RunOptions(cancelled=cancelled))
    assert world.files() == set()
    world.give("orders", numbered("a"))
    assert world.scan("orders").status == "committed"


def test_a_plugin_that_ends_the_process_harms_nobody_else(world: World) -> None:
    world.plugin(
        "deadly",
        "import os\nfrom differ.iterators import iterator\n@iterator(key='id')\ndef deadly(ctx):\n"
        "    yield [{'id': 1}]\n    os._exit(9)\n",
    )
    world.source("orders", iterator="deadly")
    assert world.project.catalog.stream().head_scn == 0
    script = f"import differ; differ.open({str(world.folder)!r}).scan('orders')"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == 9
    world.fed("orders", numbered("a"))
    assert world.scan("orders").status == "committed"
    world.verify("orders")
    assert world.project.catalog.cycle("orders", 1).status == "failed"
