"""Iterators that break in every way: a named, bounded error or exact data, and no other source is harmed.

See also tests/cycle/test_broken_iterators.py (ragged, mixed, duplicate, null, early ends, timeouts),
tests/cli/test_apart.py (processes that end), and tests/schedule/test_scheduler.py (children that are deaf, or leave
processes behind).
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.cli.shop import Shop, table
from tests.cycle.conftest import world
from tests.cycle.world import DELTAS, World
from tests.faults.conftest import FULL, sized
from tests.runtime.running import running

__all__ = ["world"]

HUGE = "h" * (16 << 20)
MESSAGE_CHARS = 10_000


def nested(wrap: Callable[[Any], Any], levels: int, inner: Any = "x") -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def arrow(wrap: Callable[[Any], Any], levels: int, inner: str = "x") -> pa.Table:
    return pa.table({"id": [1], "v": pa.array([nested(wrap, levels, inner)])})


def raises(ctx: Any) -> Any:
    raise RuntimeError(HUGE)


WIDE = {f"c{number}": number for number in range(sized(1_000, 5_000))}
BROKEN: dict[str, tuple[Any, str]] = {
    "a huge key twice": ([[{"id": HUGE}, {"id": HUGE}]], "came twice"),
    "a huge key twice, in two batches": ([[{"id": HUGE}], [{"id": HUGE}]], "came twice"),
    "a huge message": (raises, "RuntimeError"),
    "a huge value of another type": ([[{"id": 1, "v": HUGE}, {"id": 2, "v": 3}]], "'v' holds both"),
    "a number of many digits": ([[{"id": 1, "v": 10**20_000}]], "'v'"),
    "wide and ragged": ([[{"id": 1, **WIDE}, {"id": 2}]], "'c0'"),
    "wide and changing": ([[{"id": 1, **WIDE}], [{"id": 2, **{f"x{n}": 1 for n in WIDE}}]], "changed its schema"),
    "wide without a key": ([[{"id": None, **WIDE}]], "'id' is null"),
    "too deep": ([[{"id": 1, "v": nested(lambda v: [v], 20_000)}]], "nested deeper"),
    "too deep for Arrow": ([arrow(lambda v: [v], 41)], "'v': its Arrow type is nested deeper"),
    "structs too deep for Arrow": ([arrow(lambda v: {"k": v}, 100)], "'v': its Arrow type is nested deeper"),
    "a deep key twice": ([[{"id": nested(lambda v: {"k": v}, 100)}] * 2], "came twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_huge_wide_or_deep_and_wrong_is_a_bounded_error(world: World, name: str) -> None:
    batches, named = BROKEN[name]
    world.fed("orders")
    world.fed("others", [{"id": 1}])
    world.feed("orders").splits = [batches]
    orders, others = world.project.scan_all()
    assert (orders.status, others.status) == ("failed", "committed")
    assert orders.error
    assert named in orders.error.removesuffix("... (cut off)") or len(orders.error) > 8_000
    assert orders.error.startswith("scan orders: ")
    assert "unexpected" not in orders.error
    assert len(orders.error) + len(orders.hint or "") < MESSAGE_CHARS
    status = {source["source"]: source for source in world.project.status()["sources"]}
    assert status["orders"]["last_error"] == orders.error
    assert not [path for path in world.files() if "/orders/" in path]


FINE: dict[str, tuple[Any, Any]] = {
    "huge texts": ([{"id": 1, "v": HUGE}, {"id": 2, "v": HUGE}], [{"id": 1, "v": HUGE + "x"}, {"id": 2, "v": HUGE}]),
    "huge bytes": ([{"id": 1, "v": HUGE.encode()}], [{"id": 1, "v": HUGE.encode() + b"x"}]),
    "a huge key": ([{"id": HUGE, "v": 1}], [{"id": HUGE, "v": 2}]),
    "deep objects": tuple([{"id": 1, "v": nested(lambda v: {"k": v}, 100, end)}] for end in "xy"),
    "deep arrays": tuple([{"id": 1, "v": nested(lambda v: [v], 100, end)}] for end in "xy"),
    "deep lists of Arrow": (arrow(lambda v: [v], 40), arrow(lambda v: [v], 40, "y")),
    "deep structs of Arrow": (arrow(lambda v: {"k": v}, 40), arrow(lambda v: {"k": v}, 40, "y")),
    "many columns": ([{"id": 1, **WIDE}, {"id": 2, **WIDE}], [{"id": 1, **WIDE}, {"id": 2, **WIDE, "c7": -7}]),
}  # type: ignore[assignment]


@pytest.mark.parametrize("name", FINE)
def test_what_is_huge_wide_or_deep_goes_the_whole_way(world: World, name: str) -> None:
    """Insert, update from a delta, delete; the snapshot is read back and equals the fold of the events."""
    before, after = FINE[name]
    world.fed("orders", snapshots=dict(DELTAS))
    assert world.commit("orders", before).inserts == len(world.state("orders"))
    result = world.commit("orders", after)
    assert (result.inserts, result.updates, result.deletes) == (0, 1, 0)
    world.verify("orders")
    assert world.commit("orders", []).deletes == result.rows
    assert world.project.check(read_data=True) == []


# -- whole processes ---------------------------------------------------------------------------------------------------

PLUGIN = """import ctypes, os, re, signal, threading, time, resource
from resource import setrlimit as limit
from differ.iterators import iterator
KEPT = []

@iterator(key="id", consistent=True)
def {name}(ctx):
    yield [{{"id": 1}}]
    {code}
"""
DEADLY: dict[str, tuple[str, str, str]] = {
    # name: what it does, what `differ scan --all` says of it, and what `differ run` does
    "segfaults": ("ctypes.string_at(0)", "died of SIGSEGV", r"scan segfaults: died of SIGSEGV"),
    "interrupts": ("raise KeyboardInterrupt", "raised KeyboardInterrupt", r"scan interrupts: failed"),
    "leaks_files": (
        "limit(resource.RLIMIT_NOFILE, (256, 256))\n    while True: KEPT.append(open('/dev/null'))",
        "Too many open files", r"scan leaks_files: failed",
    ),
    "leaks_threads": (
        "for _ in range(50): threading.Thread(target=threading.Event().wait).start()", "",
        r"scan leaks_threads: finished",
    ),
    "exits": ("os._exit(0)", "ended with exit code 0, without a result", r"scan exits: finished"),
    "asks_to_end": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", "ended with exit code 130",
                    r"scan asks_to_end: was interrupted"),
    "leaks_memory": (
        "limit(resource.RLIMIT_AS, (4 << 30,) * 2)\n    while True: KEPT.append(bytearray(256 << 20))",
        "MemoryError", r"scan leaks_memory: failed",
    ),
    "recurses": ("(f := lambda: f())()", "RecursionError", r"scan recurses: failed"),
    "closes_stdout": ("os.closerange(0, 3)", "", r"scan closes_stdout: (crashed|finished|failed)"),
    "holds_the_interpreter": (
        "re.match('(a+)+$', 'a' * 60 + 'b')", "had no end", r"scan holds_the_interpreter: died of SIGKILL",
    ),
}  # fmt: skip
QUICK = ("segfaults", "interrupts", "leaks_files", "leaks_threads", "closes_stdout", "holds_the_interpreter")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.orders()
    return made


def deadly(shop: Shop, names: Any, **more: Any) -> dict[str, Any]:
    """Sources that are each read by a plugin that breaks, with good ones around them."""
    for name in names:
        shop.plugin(name, PLUGIN.format(name=name, code=DEADLY[name][0]))
    shop.plugin("fine", PLUGIN.format(name="fine", code="pass"))
    sources = {name: {"iterator": name, **more} for name in names}
    if "holds_the_interpreter" in sources:
        sources["holds_the_interpreter"]["timeout"] = "1s"
    return sources | {"fine": {"iterator": "fine", **more}, "orders": table("orders", **more)}


def test_scan_all_goes_on_whatever_a_plugin_does(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("differ.cli.apart.GRACE_SECONDS", 5.0)
    monkeypatch.setattr("differ.cli.apart.STOP_SECONDS", 1.0)
    names = list(DEADLY) if FULL else QUICK
    shop.configure(deadly(shop, names))
    done = shop.run("scan", "--all", "--json")
    results = {line["source"]: line for line in done.lines}
    assert done.code == 3
    assert list(results) == [*names, "fine", "orders"]
    assert results["fine"]["status"] == results["orders"]["status"] == "committed"
    for name in names:
        said = DEADLY[name][1]
        assert results[name]["status"] == ("failed" if said else "committed"), results[name]
        assert said in (results[name].get("error") or ""), results[name]
        assert len(json.dumps(results[name])) < MESSAGE_CHARS
    assert shop.ok("check", "--read-data").code == 0
    for source in shop.ok("status", "--json").document["sources"]:
        assert source["status"] == results[source["source"]]["status"]
    shop.plugin(names[0], PLUGIN.format(name=names[0], code="pass"))
    assert shop.ok("scan", "--source", names[0], "--json").lines[0]["status"] == "committed"


@pytest.mark.timeout(180)
def test_run_goes_on_whatever_a_plugin_does(shop: Shop) -> None:
    names = list(DEADLY) if FULL else ("segfaults", "interrupts")
    shop.configure(deadly(shop, names, schedule={"every": "1h"}), executor={"workers": 3})
    wanted = {DEADLY[name][2] for name in names} | {r"scan fine: finished", r"scan orders: finished"}
    with running(shop, "--only", "scheduler") as process:
        for pattern in wanted:
            if not any(re.search(pattern, message) for message in process.seen):
                process.wait_for(pattern)
    assert shop.ok("check", "--read-data").code == 0
    sources = {source["source"]: source["status"] for source in shop.ok("status", "--json").document["sources"]}
    assert {name: sources[name] for name in ("fine", "orders")} == {"fine": "committed", "orders": "committed"}
    for name in names:
        assert (sources[name] == "committed") is (not DEADLY[name][1]), sources
