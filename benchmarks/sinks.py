"""Sinks beside the bulk loop of the client library they use: events a second into the same server, in the same run.

    python benchmarks/sinks.py --postgresql URL [--elasticsearch URL] [--rows 200000] [--rounds 3] [--json FILE]

A source of so many rows is scanned, a sink bootstraps from it, then every row changes and the sink follows. Measured is
the second part, from the sink's start to its checkpoint at the head: joining the relay, reading, mapping, upserting by
key, checkpoints. The peer is handed the same rows as Python objects, ready before its clock starts, and upserts them by
key in batches of the same size: psycopg's `executemany` with INSERT .. ON CONFLICT, a commit a batch; elasticsearch's
`helpers.bulk` with external versions. It reads no relay and keeps no checkpoint. Runs alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

DIFFER = (sys.executable, "-P", "-m", "differ")
BATCH = 5_000
COLUMNS = ("id", "status", "total", "at", "note")
SCHEDULER = """\
version: 1
sources:
  orders:
    iterator: files
    options: {{path: orders.parquet}}
    key: id
    guards: {{updates: 100%}}
relay: {{listen: "127.0.0.1:{port}"}}
sinks:
  copy:
    kind: {kind}
    sources: [orders]
    batch: {{events: {batch}}}
    options: {options}
"""
STATE = """
COPY (SELECT range AS id, ['new', 'paid', 'sent'][1 + (range + {tick}) % 3] AS status,
             (range % 100000 / 100)::DECIMAL(15, 2) AS total,
             TIMESTAMP '2026-01-01' + INTERVAL (range) SECOND AS at,
             md5(range::VARCHAR) || md5({tick}::VARCHAR) AS note
      FROM range({rows})) TO '{folder}/orders.parquet'
"""


def main() -> None:
    """Run sinks and peers in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", metavar="URL", help="SQLAlchemy URL of an empty database")
    parser.add_argument("--elasticsearch", metavar="URL")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"machine": _machine(), "rows": arguments.rows}
    works: list[tuple[str, Callable[[], float]]] = []
    if arguments.postgresql:
        url = arguments.postgresql
        options = {"url": url, "table": "copy", "create": True}
        works.append(("sql sink, PostgreSQL", lambda: _sink("sql", options, arguments.rows)))
        works.append(("psycopg executemany, PostgreSQL", lambda: _psycopg(url, arguments.rows)))
    if arguments.elasticsearch:
        target = arguments.elasticsearch
        where = {"url": target, "index": "copy"}
        works.append(("elasticsearch sink", lambda: _sink("elasticsearch", where, arguments.rows)))
        works.append(("elasticsearch helpers.bulk", lambda: _bulk(target, arguments.rows)))
    rates: dict[str, list[float]] = {name: [] for name, _ in works}
    for _ in range(arguments.rounds):
        for name, run in works:
            rates[name].append(arguments.rows / run())
    report["events_per_second"] = rates
    _print(report)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


def _sink(kind: str, options: dict[str, Any], rows: int) -> float:
    """Seconds from the sink's start to its checkpoint at the head, with as many updates before it as there are rows."""
    import differ

    folder = Path(tempfile.mkdtemp(prefix="differ-bench-"))
    port = _free_port()
    text = SCHEDULER.format(port=port, kind=kind, batch=BATCH, options=json.dumps(options))
    (folder / "scheduler.yaml").write_text(text)
    _scan(folder, rows, tick=0)
    relay = subprocess.Popen([*DIFFER, "run", "--only", "relay,bootstrap", "--project", str(folder), "--quiet"])
    try:
        _wait(port)
        _follow(folder, rows)
        _scan(folder, rows, tick=1)
        with differ.open(folder) as project:
            head = project.catalog.stream().head_scn
        assert head == 2 * rows, head
        return _follow(folder, head)
    finally:
        relay.terminate()
        relay.wait(30)
        shutil.rmtree(folder)


def _follow(folder: Path, scn: int) -> float:
    """Run the sink until its checkpoint has come so far; seconds."""
    from differ.config import load
    from differ.sinks.runner import SinkRunner

    settings = load(folder)
    runner = SinkRunner(settings, settings.sinks["copy"])
    start = time.perf_counter()
    runner.start()
    try:
        while (status := runner.status())["scn"] != scn or status["bootstrapping"]:
            if runner.failure() is not None:
                sys.exit(f"sink: {runner.failure()}")
            time.sleep(0.01)
        return time.perf_counter() - start
    finally:
        runner.stop()


def _scan(folder: Path, rows: int, *, tick: int) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(STATE.format(rows=rows, tick=tick, folder=folder))
    subprocess.run([*DIFFER, "scan", "--all", "--project", str(folder)], check=True, capture_output=True)


def _rows(rows: int, tick: int) -> list[dict[str, Any]]:
    import duckdb
    import pyarrow.parquet

    with tempfile.TemporaryDirectory() as name:
        with duckdb.connect() as connection:
            connection.execute(STATE.format(rows=rows, tick=tick, folder=name))
        found: list[dict[str, Any]] = pyarrow.parquet.read_table(f"{name}/orders.parquet").to_pylist()
        return found


def _psycopg(url: str, rows: int) -> float:
    import psycopg
    from sqlalchemy import make_url

    parts = make_url(url)
    where = {"host": parts.host, "port": parts.port, "user": parts.username, "dbname": parts.database}
    sets = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
    places = ", ".join(f"%({name})s" for name in COLUMNS)
    statement = f"INSERT INTO peer VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {sets}"
    with psycopg.connect(**where, password=parts.password) as connection:  # type: ignore[arg-type]
        connection.execute("DROP TABLE IF EXISTS peer")
        connection.execute(
            "CREATE TABLE peer (id bigint PRIMARY KEY, status text, total numeric(15, 2), at timestamp, note text)"
        )
        seconds = 0.0
        for tick in (0, 1):
            state = _rows(rows, tick)
            start = time.perf_counter()
            for first in range(0, rows, BATCH):
                with connection.cursor() as cursor:
                    cursor.executemany(statement, state[first : first + BATCH])
                connection.commit()
            seconds = time.perf_counter() - start
    return seconds


def _bulk(url: str, rows: int) -> float:
    from elasticsearch import Elasticsearch, helpers

    with Elasticsearch(url, request_timeout=120) as client:
        client.options(ignore_status=404).indices.delete(index="peer")
        seconds = 0.0
        for tick in (0, 1):
            actions = [
                {
                    "_op_type": "index",
                    "_index": "peer",
                    "_id": str(row["id"]),
                    "version": tick * rows + number + 1,
                    "version_type": "external",
                    "_source": row | {"total": str(row["total"]), "at": row["at"].isoformat()},
                }
                for number, row in enumerate(_rows(rows, tick))
            ]
            start = time.perf_counter()
            helpers.bulk(client, actions, chunk_size=BATCH)
            seconds = time.perf_counter() - start
    return seconds


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("the relay did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _print(report: dict[str, Any]) -> None:
    print(f"{report['machine']}; {report['rows']} rows, each updated once")
    rates = report["events_per_second"]
    for name, values in rates.items():
        print(f"{name:<34} {statistics.median(values):10,.0f} events/s   ({min(values):,.0f} .. {max(values):,.0f})")
    names = list(rates)
    for sink, peer in zip(names[::2], names[1::2], strict=True):
        print(f"{sink}: {statistics.median(rates[sink]) / statistics.median(rates[peer]):.2f} x the rate of {peer}")


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("differ-cdc", "psycopg", "elasticsearch", "sqlalchemy"))
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}; {versions}"


if __name__ == "__main__":
    main()
