"""Sources far larger than a batch, with memory of a few batches."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.cycle.world import World
from tests.iterators.sql.scanning import run

ROWS = 300_000
GROWTH_BYTES_MAX = 300 * 2**20
SERIES = {
    "postgresql": f"SELECT g, 'row ' || g, g * 0.01, repeat(md5(g::text), 3) FROM generate_series(1, {ROWS}) g",
    "mariadb": f"SELECT seq, concat('row ', seq), seq * 0.01, repeat(md5(seq), 3) FROM seq_1_to_{ROWS}",
}
WATCHED = textwrap.dedent(
    """
    import re, sys, threading
    import differ

    def anonymous():
        return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

    import pandas, polars, pyarrow.parquet, sqlalchemy, xxhash  # noqa: E401
    before, peak, over = anonymous(), 0, threading.Event()

    def watch():
        global peak
        while not over.wait(0.02):
            peak = max(peak, anonymous() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    with differ.open(sys.argv[1]) as project:
        result = project.scan("t")
    over.set()
    thread.join()
    print(result.status, result.rows, result.inserts, result.updates, result.deletes, peak)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_memory_does_not_grow_with_the_table(world: World, request: pytest.FixtureRequest, name: str) -> None:
    """Each scan is a process of its own, whose anonymous memory is watched."""
    url = request.getfixturevalue(f"{name}_url")
    run(
        url,
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), price DECIMAL(12,2), note VARCHAR(100))",
        f"INSERT INTO t {SERIES[name]}",
    )
    options = {"url": url, "table": "t", "batch_rows": 2000}
    world.source("t", iterator="sql", options=options)
    world.settings["executor"] = {"memory": "64MiB"}
    assert world.project.settings.executor.memory_bytes == 64 * 2**20
    assert watched(world.folder) == ["committed", ROWS, ROWS, 0, 0]
    run(url, "UPDATE t SET name = 'x' WHERE id % 100 = 0", "DELETE FROM t WHERE id % 100 = 1",
        f"INSERT INTO t SELECT id + {ROWS}, name, price, note FROM t WHERE id % 100 = 2")  # fmt: skip
    hundredth = ROWS // 100
    assert watched(world.folder) == ["committed", ROWS, hundredth, hundredth, hundredth]
    head = world.project.catalog.stream().head_scn
    assert head == ROWS + 3 * hundredth
    ops = [event.op for event in world.project.events("t", since=ROWS)]
    assert {op: ops.count(op) for op in ops} == dict.fromkeys(("insert", "update", "delete"), hundredth)
    assert world.project.snapshot("t").rows == ROWS


def watched(project: Path) -> list[str | int]:
    """What a scan said; its memory stayed within bounds."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(project)], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    status, *numbers, peak = re.findall(r"\S+", done.stdout)
    assert int(peak) < GROWTH_BYTES_MAX, f"{int(peak) >> 20} MiB"
    return [status, *map(int, numbers)]
