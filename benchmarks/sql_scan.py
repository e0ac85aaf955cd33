"""A second cycle of TPC-H orders from PostgreSQL and MariaDB, beside merely fetching the same rows into Arrow.

    python benchmarks/sql_scan.py [--scale 1] [--rounds 5] [--only postgresql|mariadb]

It starts its own servers on private ports, with memory for the table. The table's next state has 1 % updates, 0.5 %
deletes and 0.5 % inserts (`tpch.py`); before each run differ's project is put back to what its first cycle left.

The peers fetch and decode to exact Arrow types, and keep nothing:

- PostgreSQL: psycopg's COPY (.. FORMAT csv), cut at row ends into blocks that Arrow's CSV reader parses in two threads
  while more is fetched. All of it at once, parsed behind the last row, is slower.
- MariaDB: ConnectorX where it is installed (`pip install connectorx`; nothing of differ needs it). Its decimals come as
  decimal128(38,10), which a cast makes exact for this table but not for all; and it opens connections of its own. Also
  mysqlclient's streaming result without converters, column by column to Arrow; and the same with one packed value a
  row, which is what differ's own path does, without differ.

differ's iterator alone, without the cycle around it, is timed too; no bar is held against it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import pyarrow as pa

from benchmarks import tpch
from benchmarks.rounds import Bar, Side, in_turns, median, report
from tests.servers import MariaDB, PostgreSQL

TYPES: dict[str, pa.DataType] = {
    "o_orderkey": pa.int64(), "o_custkey": pa.int64(), "o_orderstatus": pa.string(),
    "o_totalprice": pa.decimal128(15, 2), "o_orderdate": pa.date32(), "o_orderpriority": pa.string(),
    "o_clerk": pa.string(), "o_shippriority": pa.int32(), "o_comment": pa.string(),
}  # fmt: skip
COLUMNS = (
    "o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus varchar(1), o_totalprice decimal(15,2), "
    "o_orderdate date, o_orderpriority varchar(15), o_clerk varchar(15), o_shippriority int, o_comment varchar(200)"
)
SCHEDULER = """\
version: 1
sources:
  orders:
    iterator: sql
    options: {url: "env:BENCHMARK_URL", table: orders}
    key: o_orderkey
"""
SELECT = f"SELECT {', '.join(TYPES)} FROM orders"
LIMIT = 1.3
BLOCK_BYTES = 8 * 2**20
SERVER_BYTES = 2**30


class RoomyPostgreSQL(PostgreSQL):
    """A server that keeps the table in its own memory."""

    def command(self) -> list[str]:
        return [*super().command(), "-c", f"shared_buffers={SERVER_BYTES // 2**20}MB"]


class RoomyMariaDB(MariaDB):
    """A server that keeps the table in its own memory."""

    def command(self) -> list[str]:
        return [*super().command(), f"--innodb-buffer-pool-size={SERVER_BYTES}"]


def main() -> None:
    """Load both states, run the rounds of each server, and fail where a bar is missed."""
    arguments = _arguments()
    good = True
    with tempfile.TemporaryDirectory(prefix="differ-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        old, new = tpch.states(tpch.ORDERS, arguments.scale)
        (folder / "old.parquet").symlink_to(old)
        (folder / "new.parquet").symlink_to(new)
        for kind, server in (("postgresql", RoomyPostgreSQL), ("mariadb", RoomyMariaDB)):
            if arguments.only in (None, kind):
                with server() as running:
                    url = running.url(running.create_database("bench"))
                    good = _compare(kind, folder / kind, url, folder, arguments) and good
    sys.exit(0 if good else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["postgresql", "mariadb"])
    parser.add_argument("--run", nargs=2, metavar=("WHAT", "ARGUMENT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        _run(*arguments.run)
        sys.exit(0)
    return arguments


def _compare(kind: str, project: Path, url: str, folder: Path, arguments: argparse.Namespace) -> bool:
    """The first cycle of the old state, then rounds of peers and differ on the new one."""
    os.environ["BENCHMARK_URL"] = url
    project.mkdir()
    (project / "scheduler.yaml").write_text(SCHEDULER)
    _load(kind, url, folder / "old.parquet")
    subprocess.run(_command("cycle", str(project)), check=True, capture_output=True)
    _load(kind, url, folder / "new.parquet")
    kept = project.with_suffix(".kept")
    shutil.copytree(project, kept)

    def put_back() -> None:
        shutil.rmtree(project)
        shutil.copytree(kept, project)

    ours = f"differ, second cycle from {kind}"
    alone = f"differ's iterator alone, from {kind}"
    peers = [Side(name=name, command=_command(name, url)) for name in _peers(kind)]
    sides = [
        *peers,
        Side(name=alone, command=_command("alone", url)),
        Side(name=ours, command=_command("cycle", str(project)), prepare=put_back),
    ]
    runs = in_turns(sides, arguments.rounds)
    rows = {run.output["rows"] for found in runs.values() for run in found}
    if len(rows) != 1:
        sys.exit(f"the sides read different numbers of rows: {rows}")
    fastest = min((side.name for side in peers), key=lambda name: median(runs[name], "wall"))
    print(f"process wall of {ours}: {median(runs[ours], 'process_wall'):.2f} s; {runs[ours][-1].output['phases']}")
    return report(
        f"TPC-H orders from {kind}, scale {arguments.scale:g}",
        runs,
        [Bar(ours=ours, peer=fastest, limit=LIMIT)],
        packages=["psycopg", "mysqlclient-static", "connectorx"],
        notes={"rows": rows.pop(), "phases": runs[ours][-1].output["phases"]},
    )


def _peers(kind: str) -> list[str]:
    if kind == "postgresql":
        return ["psycopg COPY to Arrow"]
    connectorx = ["ConnectorX to Arrow"] if importlib.util.find_spec("connectorx") else []
    return [*connectorx, "mysqlclient to Arrow", "mysqlclient, packed, to Arrow"]


def _command(what: str, argument: str) -> list[str]:
    return [sys.executable, __file__, "--run", what, argument]


def _load(kind: str, url: str, state: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    text = state.with_suffix(".csv")
    pyarrow.csv.write_csv(pyarrow.parquet.read_table(state), text)
    text.chmod(0o644)
    if kind == "postgresql":
        with _psycopg(url) as connection:
            connection.execute("DROP TABLE IF EXISTS orders")
            connection.execute(f"CREATE TABLE orders ({COLUMNS})")
            with (
                connection.cursor().copy("COPY orders FROM STDIN (FORMAT csv, HEADER)") as copy,
                text.open("rb") as csv,
            ):
                while block := csv.read(1 << 20):
                    copy.write(block)
            connection.commit()
            connection.autocommit = True
            connection.execute("VACUUM ANALYZE orders")
    else:
        layout = "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' IGNORE 1 LINES"
        with _mysql(url, local_infile=1) as connection:
            connection.query("DROP TABLE IF EXISTS orders")
            connection.query(f"CREATE TABLE orders ({COLUMNS})")
            connection.query(f"LOAD DATA LOCAL INFILE '{text}' INTO TABLE orders {layout}")
            connection.query("COMMIT")
    text.unlink()


def _run(what: str, argument: str) -> None:
    """One side, in a process of its own; prints seconds and rows."""
    sides: dict[str, Callable[[str], Any]] = {
        "cycle": _cycle,
        "alone": _alone,
        "psycopg COPY to Arrow": _copy,
        "ConnectorX to Arrow": _connectorx,
        "mysqlclient to Arrow": _mysqlclient,
        "mysqlclient, packed, to Arrow": _packed,
    }
    print(json.dumps(sides[what](argument)))


def _cycle(project: str) -> dict[str, Any]:
    import differ

    with differ.open(project) as opened:
        start = time.perf_counter()
        result = opened.scan("orders")
        seconds = time.perf_counter() - start
    if result.status != "committed":
        sys.exit(f"{result.status}: {result.error or result.reason}")
    return {"seconds": seconds, "rows": result.rows, "phases": dict(result.seconds), "changes": result.changes}


def _timed(fetch: Callable[[], Iterator[pa.Table]]) -> dict[str, Any]:
    start = time.perf_counter()
    tables = list(fetch())
    seconds = time.perf_counter() - start
    for table in tables:
        if table.schema.types != list(TYPES.values()):
            sys.exit(f"other types: {table.schema}")
    return {"seconds": seconds, "rows": sum(table.num_rows for table in tables)}


def _alone(url: str) -> dict[str, Any]:
    """What the cycle reads, without hashing, comparing and writing it; its ints are 64 bits wide."""
    from differ.iterators.contract import Context
    from differ.iterators.sql import sql

    start = time.perf_counter()
    plugin = sql(Context(source="orders", options={"url": url, "table": "orders"}))
    rows = sum(batch.num_rows for split in plugin.splits() for batch in plugin.read(split))
    told = plugin.explain()
    plugin.close()
    return {"seconds": time.perf_counter() - start, "rows": rows, "path": told}


def _copy(url: str) -> dict[str, Any]:
    import io
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow.csv

    def parse(data: pa.Buffer) -> pa.Table:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(column_names=list(TYPES), use_threads=False, block_size=data.size),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=TYPES, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )

    def fetch() -> Iterator[pa.Table]:
        found = []
        with ThreadPoolExecutor(2) as helpers, _psycopg(url) as connection, connection.cursor() as cursor:
            with cursor.copy(f"COPY ({SELECT}) TO STDOUT (FORMAT csv)") as copy:
                buffer = io.BytesIO()
                for data in copy:  # one row
                    if buffer.write(data) and buffer.tell() > BLOCK_BYTES:
                        found.append(helpers.submit(parse, pa.py_buffer(buffer.getbuffer())))
                        buffer = io.BytesIO()
                found.append(helpers.submit(parse, pa.py_buffer(buffer.getbuffer())))
            yield from (future.result() for future in found)

    return _timed(fetch)


def _connectorx(url: str) -> dict[str, Any]:
    import connectorx
    from sqlalchemy import make_url

    parts = make_url(url)

    def fetch() -> Iterator[pa.Table]:
        address = f"mysql://{parts.username}@{parts.host}:{parts.port}/{parts.database}"
        table = connectorx.read_sql(address, SELECT, return_type="arrow")
        yield table.cast(pa.schema(list(TYPES.items())))

    return _timed(fetch)


def _mysqlclient(url: str) -> dict[str, Any]:
    def fetch() -> Iterator[pa.Table]:
        for rows in _streamed(url, SELECT, 2000):
            columns = [pa.array(values, pa.binary()).cast(pa.string()) for values in zip(*rows, strict=True)]
            yield pa.table(
                [column.cast(type_) for column, type_ in zip(columns, TYPES.values(), strict=True)], list(TYPES)
            )

    return _timed(fetch)


def _packed(url: str) -> dict[str, Any]:
    """One value a row, split by Arrow alone, for these texts hold no tabs; differ counts on no such luck."""
    import pyarrow.csv

    options = pyarrow.csv.ConvertOptions(column_types=TYPES, null_values=["\\N"], strings_can_be_null=True)
    values = ", ".join(f"IFNULL({name}, '\\\\N')" for name in TYPES)

    def fetch() -> Iterator[pa.Table]:
        parts: list[bytes] = []
        for rows in _streamed(url, f"SELECT CAST(CONCAT_WS('\t', {values}) AS BINARY) FROM orders", 1000):
            parts.append(b"\n".join([row[0] for row in rows]))
            if len(parts) == 64:
                yield parse(parts)
                parts = []
        if parts:
            yield parse(parts)

    def parse(parts: Sequence[bytes]) -> pa.Table:
        data = b"\n".join(parts)
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(column_names=list(TYPES), block_size=len(data)),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=options,
        )

    return _timed(fetch)


def _streamed(url: str, statement: str, size: int) -> Iterator[tuple[tuple[bytes, ...], ...]]:
    with _mysql(url, conv={}, use_unicode=False) as connection:
        connection.query(statement)
        result = connection.use_result()
        while rows := result.fetch_row(size, 0):
            yield rows


def _psycopg(url: str) -> Any:
    import psycopg
    from sqlalchemy import make_url

    parts = make_url(url)
    return psycopg.connect(host=parts.host, port=parts.port, user=parts.username, dbname=parts.database)


@contextmanager
def _mysql(url: str, **options: Any) -> Iterator[Any]:
    import MySQLdb
    from sqlalchemy import make_url

    parts = make_url(url)
    connection = MySQLdb.connect(
        host=parts.host, port=parts.port, user=parts.username, db=parts.database, charset="utf8mb4", **options
    )
    try:
        yield connection
    finally:
        connection.close()


if __name__ == "__main__":
    main()
