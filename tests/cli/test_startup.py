"""A short command pays only for what it does: what it must not import, and how pandas comes when it is wanted."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from differ import kernels
from tests.cli.shop import Shop

HEAVY = (
    "pandas", "rich", "fastavro", "pymongo", "fastapi", "uvicorn", "starlette", "urllib3", "prometheus_client",
    "apscheduler", "psycopg", "MySQLdb", "pymysql", "duckdb", "confluent_kafka", "nats", "pyarrow.dataset",
    "pyarrow.csv", "differ.server", "differ.client", "differ.sinks", "differ.schedule", "differ.formats.avro",
    "differ.cycle.care", "differ.iterators.sql.postgresql", "differ.iterators.sql.mariadb",
    "differ.iterators.sql.postgresql_sums", "differ.iterators.sql.mariadb_sums", "differ.iterators.sql.generic",
)  # fmt: skip
UNCHANGED = ("pyarrow.parquet", "differ.catalog.consumers", "differ.catalog.pins")
"""What a scan that finds no change does without, besides."""
PROGRAM = """
import gc, sys
from differ.cli.main import main
names, sys.argv = sys.argv[1].split(), ["differ", *sys.argv[2:]]
looks = sum(generation["collections"] for generation in gc.get_stats())
try:
    main()
except SystemExit as end:
    assert end.code == 0
looks = sum(generation["collections"] for generation in gc.get_stats()) - looks
print([name for name in names if name in sys.modules] + ["gc"] * looks, file=sys.stderr)
"""


def heavy(shop: Shop, *arguments: str, besides: Sequence[str] = ()) -> list[str]:
    """What of HEAVY, or besides, a command has imported, and "gc" for each look for garbage."""
    # Where nothing was compiled, polars hashes.
    names = (*HEAVY, *besides, "polars") if kernels.LOADED else (*HEAVY, *besides)
    command = [sys.executable, "-c", PROGRAM, " ".join(names), *arguments, "--project", str(shop.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found: list[str] = eval(done.stderr.splitlines()[-1])
    return found


@pytest.fixture
def wide(tmp_path: Path) -> Shop:
    """A shop whose table has a column of each kind."""
    shop = Shop(tmp_path / "wide")
    shop.sql(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, total NUMERIC(10, 2), weight REAL, paid BOOLEAN,"
        " placed TIMESTAMP, due DATE, body BLOB)",
        *(
            f"INSERT INTO orders VALUES ({n}, {text}, {n}.25, 0.5, 1, '2024-02-29 12:00:00', '2024-02-29', x'00ff')"
            for n, text in enumerate(("'paid'", "NULL", "'shipped'"))
        ),
    )
    return shop


def test_a_scan_neither_imports_what_others_need_nor_looks_for_garbage(wide: Shop) -> None:
    for statement, status in (
        ("SELECT 1", "committed"),
        ("SELECT 1", "unchanged"),
        ("UPDATE orders SET status = 'returned' WHERE id = 1", "committed"),
        ("DELETE FROM orders WHERE id = 2", "committed"),
        ("SELECT 1", "unchanged"),
    ):
        wide.sql(statement)
        besides = UNCHANGED if status == "unchanged" else ()
        assert heavy(wide, "scan", "--source", "orders", "-q", besides=besides) == [], statement
        assert wide.ok("status", "--json").document["sources"][0]["status"] == status
    assert heavy(wide, "status") == []


LEFT_OPEN = """
from differ.iterators import iterator

log = open("read.log", "w")

class Told:
    def __init__(self):
        self.file, self.me = open("told.log", "w"), self

told = Told()

@iterator(key="id", consistent=True)
def telling(ctx):
    log.write("one row")
    told.file.write("one row")
    yield [{"id": 1}]
"""


def test_what_a_plugin_leaves_open_is_written_at_the_end(shop: Shop) -> None:
    shop.plugin("telling", LEFT_OPEN)
    shop.configure({"telling": {"iterator": "telling"}})
    assert shop.call("scan", "--source", "telling").code == 0
    assert [(shop.folder / name).read_text() for name in ("read.log", "told.log")] == ["one row", "one row"]


FRAMES = """
import pyarrow as pa
assert not pa.lib._pandas_api.have_pandas, "pyarrow asked for pandas before this plugin wanted it"
import pandas
from differ.iterators import iterator

@iterator(key="id", consistent=True)
def frames(ctx):
    moment = pandas.Timestamp("2024-02-29 12:00:00.123456789")
    frame = pandas.DataFrame({"id": [1, 2], "at": [moment, pandas.NaT], "share": [0.5, float("nan")]})
    yield frame
    yield [{"id": 3, "at": moment, "share": None}]
    assert pa.array(frame["share"]).null_count == 1, "a series is no mere sequence"
    table = pa.Table.from_pandas(frame.assign(id=[4, 5]), preserve_index=False)
    assert table.column("share").null_count == 1
    yield table
"""


def test_pandas_that_a_plugin_imports_is_pandas_to_pyarrow(shop: Shop) -> None:
    shop.plugin("frames", FRAMES)
    shop.configure({"frames": {"iterator": "frames"}})
    command = [sys.executable, "-m", "differ", "scan", "--source", "frames", "--project", str(shop.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = shop.ok("export", "--source", "frames", "--format", "ndjson").lines
    at = "2024-02-29T12:00:00.123456789"
    assert rows == [
        {"id": 1, "at": at, "share": 0.5},
        {"id": 2, "at": None, "share": None},
        {"id": 3, "at": at, "share": None},
        {"id": 4, "at": at, "share": 0.5},
        {"id": 5, "at": None, "share": None},
    ]
