"""The second cycle of TPC-H orders: seconds by phase and peak memory, beside DuckDB's full outer join.

The old and the new state are Parquet files; the same are also loaded into PostgreSQL when asked for.


    python benchmarks/main_road.py [--scale 1] [--rounds 3] [--postgresql URL] [--json FILE]

The next state has 1 % updates, 0.5 % deletes and 0.5 % inserts, shuffled. Peer and differ run in turns (A B A B), each
in a process of its own; medians are printed. Memory is the peak of anonymous memory (mapped files are the page
cache's), sampled every 10 ms. DuckDB's join keeps no state; differ's cycle writes one. With --postgresql the same
states are also scanned from a table of that database.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

SCHEDULER = """\
version: 1
sources:
  orders:
    iterator: files
    options: {path: orders.parquet}
    key: o_orderkey
"""
SCHEDULER_POSTGRESQL = """\
version: 1
sources:
  orders:
    iterator: sql
    options: {url: "env:BENCHMARK_URL", table: orders}
    key: o_orderkey
"""
JOIN = """
COPY (SELECT coalesce(o.o_orderkey, n.o_orderkey) AS k, o, n FROM 'old.parquet' o
FULL OUTER JOIN 'new.parquet' n ON o.o_orderkey = n.o_orderkey
WHERE o.o_orderkey IS NULL OR n.o_orderkey IS NULL OR (o IS DISTINCT FROM n)) TO 'changes.parquet'
"""
NEXT_STATE = """
CREATE TABLE o AS SELECT *, row_number() OVER () AS r FROM '{orders}';
COPY (SELECT * EXCLUDE (r) FROM o ORDER BY o_orderkey) TO '{folder}/old.parquet';
COPY (SELECT * FROM (
    SELECT * EXCLUDE (r) REPLACE (
        CASE WHEN r % 200 IN (1, 2) THEN o_totalprice + 1 ELSE o_totalprice END::DECIMAL(15,2) AS o_totalprice,
        CASE WHEN r % 200 IN (1, 2) THEN 'changed ' || o_comment ELSE o_comment END AS o_comment)
    FROM o WHERE r % 200 <> 0
    UNION ALL
    SELECT * EXCLUDE (r) REPLACE (o_orderkey + 1000000000 AS o_orderkey) FROM o WHERE r % 200 = 3
) ORDER BY hash(o_orderkey)) TO '{folder}/new.parquet';
"""


def main() -> None:
    """Make the data, run the rounds, print the table."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="differ-bench-") as name:
        folder = Path(name)
        _make_data(folder, arguments.scale)
        report: dict[str, Any] = {"scale": arguments.scale, "machine": _machine(), "versions": _versions()}
        rounds: dict[str, list[dict[str, Any]]] = {}
        for _ in range(arguments.rounds):
            rounds.setdefault("duckdb full outer join", []).append(_measured([*_self(), "--duckdb", name]))
            rounds.setdefault("differ, second cycle from Parquet", []).append(_second_cycle(folder, "files", None))
            if arguments.postgresql:
                rounds.setdefault("differ, second cycle from PostgreSQL", []).append(
                    _second_cycle(folder, "postgresql", arguments.postgresql)
                )
        report["rounds"] = rounds
        report["fingerprints"] = json.loads(
            subprocess.run([*_self(), "--fingerprints", name], check=True, capture_output=True, text=True).stdout
        )
    _print(report)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgresql", metavar="URL", help="SQLAlchemy URL of an empty database")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--duckdb", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--cycle", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--fingerprints", metavar="DIR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name, run in (("duckdb", _join), ("cycle", _cycle), ("fingerprints", _fingerprints)):
        if getattr(arguments, name):
            run(Path(getattr(arguments, name)))
            sys.exit(0)
    return arguments


def _make_data(folder: Path, scale: float) -> None:
    import duckdb

    tpch = Path(sys.executable).with_name("tpchgen-cli")
    command = [str(tpch), "parquet", "-s", f"{scale:g}", "--tables=orders", f"--output-dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    with duckdb.connect() as connection:
        connection.execute(NEXT_STATE.format(orders=folder / "orders.parquet", folder=folder))
    (folder / "orders.parquet").unlink()


def _second_cycle(folder: Path, kind: str, url: str | None) -> dict[str, Any]:
    """A first cycle that is not measured, then the second in a process of its own."""
    project = folder / kind
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    if url:
        os.environ["BENCHMARK_URL"] = url
    (project / "scheduler.yaml").write_text(SCHEDULER_POSTGRESQL if url else SCHEDULER)
    _put(folder / "old.parquet", project, url)
    subprocess.run([*_self(), "--cycle", str(project)], check=True, capture_output=True)
    _put(folder / "new.parquet", project, url)
    return _measured([*_self(), "--cycle", str(project)])


def _put(state: Path, project: Path, url: str | None) -> None:
    if url is None:
        shutil.copyfile(state, project / "orders.parquet")
        return
    import psycopg
    import pyarrow.csv
    import pyarrow.parquet
    from sqlalchemy import make_url

    parts = make_url(url)
    text = project / "orders.csv"
    pyarrow.csv.write_csv(pyarrow.parquet.read_table(state), text)
    columns = (
        "o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus text, o_totalprice numeric(15,2), "
        "o_orderdate date, o_orderpriority text, o_clerk text, o_shippriority int, o_comment text"
    )
    where = {"host": parts.host, "port": parts.port, "user": parts.username, "dbname": parts.database}
    with psycopg.connect(**where, password=parts.password) as connection:  # type: ignore[arg-type]
        connection.execute("DROP TABLE IF EXISTS orders")
        connection.execute(f"CREATE TABLE orders ({columns})")
        with connection.cursor().copy("COPY orders FROM STDIN (FORMAT csv, HEADER)") as copy, text.open("rb") as file:
            while block := file.read(1 << 20):
                copy.write(block)
        connection.execute("ANALYZE orders")
    text.unlink()


def _join(folder: Path) -> None:
    import duckdb

    os.chdir(folder)
    start = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(JOIN)
        changes = connection.execute("SELECT count(*) FROM 'changes.parquet'").fetchone()
    print(json.dumps({"seconds": {"total": time.perf_counter() - start}, "changes": changes[0] if changes else 0}))


def _cycle(project: Path) -> None:
    import differ

    start = time.perf_counter()
    with differ.open(project) as opened:
        result = opened.scan("orders")
    if result.status != "committed":
        sys.exit(f"{result.status}: {result.error or result.reason}")
    seconds = dict(result.seconds) | {"total": time.perf_counter() - start}
    print(json.dumps({"seconds": seconds, "changes": result.changes, "bytes_written": result.bytes_written}))


def _fingerprints(folder: Path) -> None:
    """Rows a second of canonical bytes and both hashes on one thread, from batches in storage types."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    import pyarrow.parquet

    from differ.records.arrow import schema_from_arrow
    from differ.records.fingerprints import fingerprint
    from differ.records.normalize import to_arrow

    table = pyarrow.parquet.read_table(folder / "old.parquet")
    batches = [to_arrow(batch, source="orders", types={}) for batch in table.to_batches(max_chunksize=65_536)]
    schema = schema_from_arrow(batches[0].schema).with_key(["o_orderkey"])
    rates = []
    for _ in range(3):
        start = time.process_time()
        for batch in batches:
            fingerprint(batch, schema, schema.names)
        rates.append(table.num_rows / (time.process_time() - start))
    print(json.dumps({"rows": table.num_rows, "rows_per_cpu_second": statistics.median(rates)}))


def _measured(command: list[str]) -> dict[str, Any]:
    """Run a command that prints one JSON object; add wall and CPU seconds and the peak of anonymous memory."""
    start = time.perf_counter()
    before = os.times()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    out, error = process.communicate()
    wall = time.perf_counter() - start
    after = os.times()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: {error or out}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads(out.splitlines()[-1]) | {"process_wall": wall, "cpu": cpu, "peak_anonymous_bytes": peak[0]}


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            return
        for line in lines:
            if line.startswith("RssAnon:"):
                peak[0] = max(peak[0], int(line.split()[1]) * 1024)
        time.sleep(0.01)


def _print(report: dict[str, Any]) -> None:
    print(f"TPC-H orders, scale {report['scale']:g}; {report['machine']}; {report['versions']}")
    print(f"{'work':<40} {'seconds':>8} {'CPU s':>7} {'peak MB':>8} {'changes':>8}  phases")
    medians: dict[str, float] = {}
    for name, rounds in report["rounds"].items():
        median: Callable[[str], float] = lambda key, rounds=rounds: statistics.median(r[key] for r in rounds)  # noqa: E731
        total = statistics.median(r["seconds"]["total"] for r in rounds)
        medians[name] = total
        phases = {
            phase: statistics.median(r["seconds"].get(phase, 0) for r in rounds)
            for phase in rounds[0]["seconds"]
            if phase != "total"
        }
        shown = " ".join(f"{phase} {seconds:.2f}" for phase, seconds in phases.items())
        memory = median("peak_anonymous_bytes") / 1e6
        print(f"{name:<40} {total:8.2f} {median('cpu'):7.2f} {memory:8.0f} {rounds[0]['changes']:8d}  {shown}")
    base = medians["duckdb full outer join"]
    for name, seconds in medians.items():
        if name.startswith("differ"):
            print(f"{name}: {seconds / base:.2f} x DuckDB's full outer join")
    rate = report["fingerprints"]["rows_per_cpu_second"]
    print(f"fingerprints: {rate / 1e6:.1f} M rows a second of one thread's CPU")


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("differ-cdc", "duckdb", "pyarrow", "polars"))


def _self() -> list[str]:
    return [sys.executable, __file__]


if __name__ == "__main__":
    main()
