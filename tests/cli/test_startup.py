"""A short command pays only for what it does: what it must not import, and how pandas comes when it is wanted."""

import subprocess
import sys
from pathlib import Path

import pytest

from differ import kernels
from tests.cli.shop import Shop

HEAVY = (
    "pandas", "rich", "fastavro", "pymongo", "fastapi", "uvicorn", "starlette", "urllib3", "prometheus_client",
    "apscheduler", "psycopg", "MySQLdb", "pymysql", "duckdb", "confluent_kafka", "nats", "pyarrow.dataset",
    "pyarrow.csv", "differ.server", "differ.client", "differ.sinks", "differ.schedule", "differ.formats.avro",
    "differ.cycle.care",
)  # fmt: skip
PROGRAM = """
import sys
from differ.cli.main import run
assert run(sys.argv[2:]) == 0
print([name for name in sys.argv[1].split() if name in sys.modules], file=sys.stderr)
"""


def heavy(shop: Shop, *arguments: str) -> list[str]:
    """What of HEAVY a command has imported, besides printing its result."""
    # Where nothing was compiled, polars hashes.
    names = (*HEAVY, "polars") if kernels.LOADED else HEAVY
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


def test_a_scan_imports_neither_pandas_nor_what_other_commands_need(wide: Shop) -> None:
    for statement, status in (
        ("SELECT 1", "committed"),
        ("SELECT 1", "unchanged"),
        ("UPDATE orders SET status = 'returned' WHERE id = 1", "committed"),
        ("DELETE FROM orders WHERE id = 2", "committed"),
        ("SELECT 1", "unchanged"),
    ):
        wide.sql(statement)
        assert heavy(wide, "scan", "--source", "orders", "-q") == [], statement
        assert wide.ok("status", "--json").document["sources"][0]["status"] == status
    assert heavy(wide, "status") == []


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
