"""The same second scan by dlt (scd2), dbt (snapshot, check all) and differ: who finds the same changes how fast.

    python benchmarks/peers.py [--rows 200000 | 1500000] [--rounds 3] [--only dlt dbt] [--dlt-backend pyarrow]

TPC-H orders in PostgreSQL (the server of the tests). Everybody reads a first state, which is not measured; then 1 % of
the rows are updated, 0.5 % deleted, 0.5 % inserted, and the second run is measured, from the start of its process to
its end, in turns. Before each run the state of the first is put back. At the end each peer must have opened and closed
as many versions of rows as differ made events of. The bar: differ is at least 5 x faster than either.

Each peer is installed by pip into a virtual environment of its own under build/, and is set up as its documentation
recommends for speed: dlt with the `connectorx` backend, Arrow tables, `add_row_hash_to_table`, the row hash as scd2's
row version, DuckDB as the destination; dbt with `strategy: check`, `check_cols: all`, `hard_deletes: invalidate` in the
same PostgreSQL. Telemetry and version checks are off: nothing but 127.0.0.1 is contacted while measuring.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from rounds import Bar, Run, Side, in_turns, report

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers import PostgreSQL

BUILD = Path(__file__).parents[1] / "build"
PACKAGES = {
    "dlt": [
        "dlt[duckdb,postgres,sql_database]",
        "psycopg2-binary",
        "connectorx",
        "sqlalchemy<2.1",
        "pyarrow",
        "pandas",
    ],
    "dbt": ["dbt-core<1.11", "dbt-postgres"],
}
ROWS_AT_SCALE_1 = 1_500_000
FASTER_AT_LEAST = 5
COLUMNS = (
    "o_orderkey BIGINT PRIMARY KEY, o_custkey BIGINT, o_orderstatus TEXT, o_totalprice NUMERIC(15, 2), "
    "o_orderdate DATE, o_orderpriority TEXT, o_clerk TEXT, o_shippriority INTEGER, o_comment TEXT"
)
STATES = """
CREATE TABLE o AS SELECT *, row_number() OVER () AS r FROM '{folder}/orders.parquet';
COPY (SELECT * EXCLUDE (r) FROM o ORDER BY o_orderkey) TO '{folder}/old.csv' (HEADER false);
COPY (SELECT * FROM (
    SELECT * EXCLUDE (r) REPLACE (
        CASE WHEN r % 200 IN (1, 2) THEN o_totalprice + 1 ELSE o_totalprice END::DECIMAL(15,2) AS o_totalprice)
    FROM o WHERE r % 200 <> 0
    UNION ALL
    SELECT * EXCLUDE (r) REPLACE (o_orderkey + 1000000000 AS o_orderkey) FROM o WHERE r % 200 = 3
)) TO '{folder}/new.csv' (HEADER false);
"""
SCHEDULER = """\
version: 1
sources:
  orders:
    iterator: sql
    options: {url: "env:BENCHMARK_URL", table: orders}
    key: o_orderkey
"""
DLT = """
import os, sys
import dlt
from dlt.sources.helpers.transform import add_row_hash_to_table
from dlt.sources.sql_database import sql_table

folder, backend = sys.argv[1:]
orders = sql_table(
    os.environ["BENCHMARK_PEER_URL"], table="orders", schema="public", backend=backend, chunk_size=100_000,
    reflection_level="full_with_precision",
    write_disposition={"disposition": "merge", "strategy": "scd2", "row_version_column_name": "row_hash"},
).add_map(add_row_hash_to_table("row_hash"))
pipeline = dlt.pipeline(
    "orders", pipelines_dir=f"{folder}/pipelines", destination=dlt.destinations.duckdb(f"{folder}/orders.duckdb"),
    dataset_name="bench",
)
pipeline.run(orders).raise_on_failed_jobs()
"""
DBT = {
    "dbt_project.yml": (
        "name: bench\nversion: '1.0'\nprofile: bench\nmodel-paths: [models]\nsnapshot-paths: [snapshots]\n"
    ),
    "models/sources.yml": "sources:\n  - {name: shop, schema: public, tables: [{name: orders}]}\n",
    "snapshots/orders.yml": (
        "snapshots:\n  - name: orders_snapshot\n    relation: source('shop', 'orders')\n    config:\n"
        "      {schema: snapshots, unique_key: o_orderkey, strategy: check, check_cols: all,"
        " hard_deletes: invalidate}\n"
    ),
}
PROFILE = """\
bench:
  target: bench
  outputs:
    bench:
      {{type: postgres, host: {host}, port: {port}, user: postgres, password: "", dbname: {database}, schema: public,
       threads: 2}}
"""
QUIET = {"DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "RUNTIME__DLTHUB_TELEMETRY": "false"}
KEPT, DIFFER = "orders_snapshot_kept", "differ scan"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One contender, ready: its first state is taken. versions: how many it opened and closed in its last run."""

    name: str
    command: list[str]
    put_back: Callable[[], None]
    versions: Callable[[], tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The database, and a folder for everybody's files."""

    server: PostgreSQL
    database: str
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What every run is given."""
        peer = f"postgresql+psycopg2://postgres@{self.server.host}:{self.server.port}/{self.database}"
        return {"BENCHMARK_URL": self.server.url(self.database), "BENCHMARK_PEER_URL": peer, **QUIET}

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of its own, in autocommit."""
        return psycopg.connect(
            host=self.server.host, port=self.server.port, user="postgres", dbname=self.database, autocommit=True
        )

    def run(self, command: list[str]) -> str:
        """Run what is not measured; ends the benchmark with its words when it fails."""
        done = subprocess.run(command, env={**os.environ, **self.env}, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def load(self, state: str) -> None:
        """Make `orders` the old or the new state."""
        with self.connect() as connection:
            connection.execute("DROP TABLE IF EXISTS orders")
            connection.execute(f"CREATE TABLE orders ({COLUMNS})")  # type: ignore[arg-type]
            with (
                (self.folder / f"{state}.csv").open("rb") as file,
                connection.cursor().copy("COPY orders FROM STDIN (FORMAT csv)") as copy,
            ):
                while block := file.read(1 << 20):
                    copy.write(block)
            connection.execute("VACUUM ANALYZE orders")


def main() -> None:
    """Make the states, let everybody take the first, run the rounds on the second, compare what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=sorted(PACKAGES), default=["dlt", "dbt"])
    parser.add_argument("--dlt-backend", choices=["connectorx", "pyarrow"], default="connectorx")
    arguments = parser.parse_args()
    pythons = {name: environment(name) for name in arguments.only}
    with PostgreSQL() as server, tempfile.TemporaryDirectory(prefix="differ-bench-") as name:
        shop = Shop(server=server, database=server.create_database("bench"), folder=Path(name))
        _make_states(shop.folder, arguments.rows / ROWS_AT_SCALE_1)
        shop.load("old")
        peers = []
        if "dlt" in pythons:
            peers.append(_dlt(shop, pythons["dlt"], arguments.dlt_backend))
        if "dbt" in pythons:
            peers.append(_dbt(shop, pythons["dbt"]))
        peers.append(_differ(shop))
        shop.load("new")
        sides = [Side(name=peer.name, command=peer.command, prepare=peer.put_back, env=shop.env) for peer in peers]
        runs = in_turns(sides, arguments.rounds)
        found = _agreed(peers, runs[DIFFER])
    rows = runs[DIFFER][0].output["rows"]
    good = report(
        f"peers, {rows} rows",
        runs,
        [Bar(ours=DIFFER, peer=peer.name, limit=1 / FASTER_AT_LEAST) for peer in peers if peer.name != DIFFER],
        packages=("sqlalchemy", "psycopg"),
        notes={"peers": {name: _installed(python, name) for name, python in pythons.items()}, "changes": found},
    )
    sys.exit(0 if good else 1)


def environment(name: str) -> Path:
    """The folder of a peer's programs, in a virtual environment that is made the first time. Asks the package index."""
    folder = BUILD / f"peer-{name}"
    stamp = folder / ".installed"
    wanted = "\n".join(PACKAGES[name])
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"installing {name} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES[name]], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "compileall", "-q", str(folder / "lib")], check=False)
        stamp.write_text(wanted)
    return folder / "bin"


def _make_states(folder: Path, scale: float) -> None:
    command = [str(Path(sys.executable).with_name("tpchgen-cli")), "parquet", "-s", f"{scale:.6g}"]
    subprocess.run([*command, "--tables=orders", f"--output-dir={folder}"], check=True, capture_output=True)
    duckdb.connect().execute(STATES.format(folder=folder))


def _dlt(shop: Shop, programs: Path, backend: str) -> Peer:
    folder, kept = shop.folder / "dlt", shop.folder / "dlt-kept"
    script = shop.folder / "dlt_orders.py"
    script.write_text(DLT)
    folder.mkdir()
    command = [str(programs / "python"), str(script), str(folder), backend]
    shop.run(command)
    shutil.copytree(folder, kept)

    def versions() -> tuple[int, int]:
        with duckdb.connect(str(folder / "orders.duckdb"), read_only=True) as connection:
            return _one(
                connection.execute(_VERSIONS.format(table="bench.orders", start="_dlt_valid_from", end="_dlt_valid_to"))
            )

    return Peer(
        name=f"dlt scd2 ({backend}, to DuckDB)",
        command=command,
        put_back=lambda: _copy(kept, folder),
        versions=versions,
    )


def _dbt(shop: Shop, programs: Path) -> Peer:
    folder = shop.folder / "dbt"
    server = shop.server
    profile = PROFILE.format(host=server.host, port=server.port, database=shop.database)
    for name, text in {**DBT, "profiles.yml": profile}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    command = [str(programs / "dbt"), "--quiet", "--no-version-check", "snapshot"]
    command += ["--project-dir", str(folder), "--profiles-dir", str(folder)]
    shop.run(command)
    table, keep = "public_snapshots.orders_snapshot", "CREATE TABLE {kept} AS SELECT * FROM {table}"
    put_back_by = ("TRUNCATE {table}", "INSERT INTO {table} SELECT * FROM {kept}", "VACUUM ANALYZE {table}")

    def execute(*statements: str) -> None:
        with shop.connect() as connection:
            for statement in statements:
                connection.execute(statement.format(table=table, kept=KEPT))  # type: ignore[arg-type]

    execute(keep)

    def versions() -> tuple[int, int]:
        statement = _VERSIONS.format(table=table, start="dbt_valid_from", end="dbt_valid_to")
        with shop.connect() as connection:
            return _one(connection.execute(statement))  # type: ignore[arg-type]

    return Peer(
        name="dbt snapshot (check all)", command=command, put_back=lambda: execute(*put_back_by), versions=versions
    )


def _differ(shop: Shop) -> Peer:
    folder, kept = shop.folder / "differ", shop.folder / "differ-kept"
    folder.mkdir()
    (folder / "scheduler.yaml").write_text(SCHEDULER)
    program = str(Path(sys.executable).with_name("differ"))
    command = [program, "scan", "--source", "orders", "--json", "--project", str(folder)]
    shop.run(command)
    shutil.copytree(folder, kept)
    return Peer(name=DIFFER, command=command, put_back=lambda: _copy(kept, folder), versions=lambda: (0, 0))


_VERSIONS = """
SELECT count(*) FILTER (WHERE {start} > first), count(*) FILTER (WHERE {end} IS NOT NULL)
FROM {table}, (SELECT min({start}) AS first FROM {table}) AS f
"""


def _agreed(peers: list[Peer], runs: list[Run]) -> dict[str, Any]:
    """What differ found; ends the benchmark where a peer did not find as many changes."""
    outputs = [run.output for run in runs]
    changes = {name: outputs[0][name] for name in ("inserts", "updates", "deletes")}
    if any(output["status"] != "committed" for output in outputs) or any(
        output[name] != count for output in outputs for name, count in changes.items()
    ):
        sys.exit(f"differ did not find the same in every round: {outputs}")
    asked = (changes["inserts"] + changes["updates"], changes["updates"] + changes["deletes"])
    for peer in peers:
        if peer.name != DIFFER and (given := peer.versions()) != asked:
            sys.exit(f"{peer.name} opened and closed {given} versions of rows, differ's events make {asked}")
    print(f"all found the same: {json.dumps(changes)}")
    return changes


def _copy(kept: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)


def _one(cursor: Any) -> Any:
    row = cursor.fetchone()
    assert row is not None
    return row


def _installed(programs: Path, name: str) -> str:
    command = [str(programs / "python"), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return ", ".join(line for line in listed if line.partition("==")[0] in (name, "dbt-core", "dbt-postgres", "duckdb"))


if __name__ == "__main__":
    main()
