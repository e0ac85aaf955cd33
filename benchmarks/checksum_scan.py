"""A scan by range checksums beside a full scan: TPC-H orders on PostgreSQL, 0.1 % of the rows changed in one place.

    python benchmarks/checksum_scan.py [--scale 1] [--rounds 5] [--postgresql URL]

Both sides are `differ scan` of the same table, each with a project and a state of its own, in turns. Before each round
one run of 0.1 % of the keys is updated, which both then find; their events must be equal, or there is no result.
Without --postgresql a server of the tests is started, with its small settings. Bar: at least four times as fast.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rounds import Bar, Side, in_turns, ratios, report

ORDERS = """CREATE TABLE orders (o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus char(1),
 o_totalprice numeric(15,2), o_orderdate date, o_orderpriority char(15), o_clerk char(15), o_shippriority integer,
 o_comment varchar(79))"""
SCHEDULER = """\
version: 1
sources:
  orders:
    iterator: sql
    options: {{url: "env:BENCHMARK_URL", table: orders}}
    key: o_orderkey
    scan: {scan}
    snapshots: {{small_base: 1MiB}}
"""
FULL, SUMS = "differ, scan: full", "differ, scan: checksum"


def main() -> None:
    """Make the data, run the rounds, compare the events, print the table; exit code 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgresql", metavar="URL", help="SQLAlchemy URL of an empty database")
    parser.add_argument("--cycle", metavar="DIR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cycle:
        _cycle(Path(arguments.cycle))
        return
    with tempfile.TemporaryDirectory(prefix="differ-bench-") as name:
        if arguments.postgresql:
            good = _compare(Path(name), arguments.postgresql, arguments)
        else:
            from tests.servers import PostgreSQL

            with PostgreSQL() as server:
                good = _compare(Path(name), server.url(server.create_database("bench")), arguments)
    sys.exit(0 if good else 1)


def _compare(folder: Path, url: str, arguments: argparse.Namespace) -> bool:
    rows = _load(folder, url, arguments.scale)
    env = {"BENCHMARK_URL": url}
    commands = {}
    for name, scan in ((FULL, "full"), (SUMS, "checksum")):
        project = folder / scan
        project.mkdir()
        (project / "scheduler.yaml").write_text(SCHEDULER.format(scan=scan))
        commands[name] = [sys.executable, __file__, "--cycle", str(project)]
        subprocess.run(commands[name], check=True, capture_output=True, env={**os.environ, **env})
    rounds = iter(range(arguments.rounds))
    sides = [
        Side(name=FULL, command=commands[FULL], prepare=lambda: _change(url, next(rounds), rows), env=env),
        Side(name=SUMS, command=commands[SUMS], env=env),
    ]
    runs = in_turns(sides, arguments.rounds)
    for full, sums in zip(runs[FULL], runs[SUMS], strict=True):
        if full.output["events"] != sums.output["events"] or not full.output["changes"]:
            sys.exit(f"the events differ: {full.output} and {sums.output}")
    faster = sorted(1 / ratio for ratio in ratios(runs[SUMS], runs[FULL]))
    notes: dict[str, Any] = {
        "rows": rows,
        "changes": runs[SUMS][0].output["changes"],
        "ranges": runs[SUMS][0].output["ranges"],
        "ranges_read": runs[SUMS][0].output["ranges_read"],
        "times_faster": [round(faster[0], 2), round(faster[len(faster) // 2], 2), round(faster[-1], 2)],
    }
    good = report(
        "checksum scan of PostgreSQL orders, 0.1 % clustered changes",
        runs,
        [Bar(ours=SUMS, peer=FULL, limit=0.25)],
        packages=("psycopg", "SQLAlchemy"),
        notes=notes,
    )
    print(f"equal events in every round; times faster, least, median and most: {notes['times_faster']}; {notes}")
    return good


def _load(folder: Path, url: str, scale: float) -> int:
    """TPC-H orders as a table; returns its rows."""
    import psycopg
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    tpch = Path(sys.executable).with_name("tpchgen-cli")
    command = [str(tpch), "parquet", "-s", f"{scale:g}", "--tables=orders", f"--output-dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(ORDERS)
        with connection.cursor().copy("COPY orders FROM STDIN (FORMAT csv)") as copy:
            for batch in pq.ParquetFile(folder / "orders.parquet").iter_batches():
                types = [pa.string() if field.type == pa.string_view() else field.type for field in batch.schema]
                columns = [column.cast(kind) for column, kind in zip(batch.columns, types, strict=True)]
                out = io.BytesIO()
                plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
                pyarrow.csv.write_csv(plain, out, pyarrow.csv.WriteOptions(include_header=False))
                copy.write(out.getvalue())
        connection.execute("VACUUM ANALYZE orders")
        (rows,) = connection.execute("SELECT count(*) FROM orders").fetchone() or (0,)
    (folder / "orders.parquet").unlink()
    return int(rows)


def _change(url: str, number: int, rows: int) -> None:
    """Update 0.1 % of the rows, neighbours, at another place each round."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "UPDATE orders SET o_totalprice = o_totalprice + 1, o_orderstatus = 'X' WHERE o_orderkey IN "
            "(SELECT o_orderkey FROM orders ORDER BY o_orderkey OFFSET %s LIMIT %s)",
            ((number * 7 + 3) % 10 * rows // 10, max(1, rows // 1000)),
        )
        connection.execute("VACUUM orders")


def _cycle(project: Path) -> None:
    """One cycle in this process; prints its seconds and a hash over its events."""
    import psycopg  # noqa: F401  (importing is not the work)
    import pyarrow.parquet  # noqa: F401
    import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
    import xxhash

    import differ
    import differ.iterators.sql.postgresql
    import differ.iterators.sql.postgresql_sums
    import differ.iterators.sql.source

    with differ.open(project) as opened:
        since = opened.catalog.stream().head_scn
        start = time.perf_counter()
        result = opened.scan("orders")
        seconds = time.perf_counter() - start
        if result.status not in ("committed", "unchanged"):
            sys.exit(str(result))
        digest = 0
        if since:
            for event in opened.events("orders", since=since):
                told = repr((event.op, event.key, event.before, event.after, event.changed))
                digest ^= xxhash.xxh3_64_intdigest(told.encode())
    line = {"seconds": seconds, "events": digest, "changes": result.changes}
    print(json.dumps(line | {"ranges": result.ranges, "ranges_read": result.ranges_read}))


if __name__ == "__main__":
    main()
