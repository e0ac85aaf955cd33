"""The cycle of a source from Parquet files, beside DuckDB on the same files: bars 1 to 5 and 10 of docs/performance.md.

    python benchmarks/cycle.py [--only orders,lineitem,rates,memory,baseline,volume] [--rounds 5] [--scale 10]

    orders     second cycle of TPC-H orders, from files to committed events and new state: beside DuckDB's full outer
               join with unlimited memory (which keeps no state), and beside DuckDB with the same head start (a table of
               its own of key and row hashes, joined with the hashes of the new file; images fetched for what changed)
    lineitem   the same for lineitem at scale 1: a key of two columns, 16 columns
    rates      orders at scale 1, from no row changed to every row
    memory     peak anonymous memory of `orders`, and of four times as many rows
    baseline   the first cycle, with and without events, beside DuckDB writing a copy sorted by key
    volume     bytes written by a cycle in which nothing changed, and by one with the usual changes

Both are timed inside their process, after importing; starting Python is not counted for either.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rounds
import tpch

SCHEDULER = """\
version: 1
sources:
  {name}:
    iterator: files
    options: {{path: [{paths}]}}
    key: [{key}]
    baseline: {baseline}
    guards: {{updates: 100%, deletes: 100%}}
"""
PACKAGES = ("duckdb",)


def main() -> None:
    """Run the parts that were asked for; exits with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="orders,lineitem,rates,memory,baseline,volume")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=10)
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        RUNS[arguments.run[0]](*arguments.run[1:])
        return
    parts = {
        "orders": lambda: second_cycle(tpch.ORDERS, arguments.scale, arguments.rounds),
        "lineitem": lambda: second_cycle(tpch.LINEITEM, arguments.scale / 10, arguments.rounds),
        "rates": lambda: rates(arguments.scale / 10, arguments.rounds),
        "memory": lambda: memory(arguments.scale, max(1, arguments.rounds // 2)),
        "baseline": lambda: baseline(arguments.scale, arguments.rounds),
        "volume": lambda: volume(arguments.scale),
    }
    results = [parts[name]() for name in arguments.only.split(",")]
    sys.exit(0 if all(results) else 1)


def second_cycle(table: tpch.Table, scale: float, count: int) -> bool:
    """Bars 1, 2 and 2b."""
    old, new = tpch.states(table, scale)
    base = committed(table, [old])
    hashes = base.parent / f"{table.name}-hashes.duckdb"
    join, head = "DuckDB full outer join", "DuckDB with kept hashes"
    ours = "differ second cycle"
    sides = [
        rounds.Side(name=join, command=_run("join", table.name, old, new)),
        rounds.Side(
            name=head, command=_run("kept", table.name, old, new, hashes), prepare=lambda: _keep(table, old, hashes)
        ),
        cycle_side(ours, table, base, [new]),
    ]
    runs = rounds.in_turns(sides, count)
    bars = [rounds.Bar(ours=ours, peer=join, limit=0.5), rounds.Bar(ours=ours, peer=head, limit=1.0)]
    _same_changes(runs)
    return rounds.report(f"second cycle, {table.name} at scale {scale:g}", runs, bars, packages=PACKAGES)


def rates(scale: float, count: int) -> bool:
    """Bar 3."""
    good = True
    for updates, others in ((0, 0), (0.001, 0), (0.01, 0.005), (0.1, 0.05), (0.5, 0.2), (1, 0)):
        old, new = tpch.states(tpch.ORDERS, scale, updates=updates, others=others)
        base = committed(tpch.ORDERS, [old])
        join, ours = "DuckDB full outer join", "differ second cycle"
        sides = [
            rounds.Side(name=join, command=_run("join", "orders", old, new)),
            cycle_side(ours, tpch.ORDERS, base, [new]),
        ]
        runs = rounds.in_turns(sides, count)
        _same_changes(runs)
        name = f"orders at scale {scale:g}, {updates:.1%} updates, {others:.1%} deletes and inserts"
        good &= rounds.report(name, runs, [rounds.Bar(ours=ours, peer=join, limit=1.0)], packages=PACKAGES)
    return good


def memory(scale: float, count: int) -> bool:
    """Bar 4."""
    old, new = tpch.states(tpch.ORDERS, scale)
    one, four = "differ, one time", "differ, four times the rows"
    olds, news = tpch.shifted(tpch.ORDERS, old, 4), tpch.shifted(tpch.ORDERS, new, 4)
    sides = [
        cycle_side(one, tpch.ORDERS, committed(tpch.ORDERS, [old]), [new]),
        cycle_side(four, tpch.ORDERS, committed(tpch.ORDERS, olds), news),
    ]
    runs = rounds.in_turns(sides, count)
    bars = [rounds.Bar(ours=four, peer=one, limit=1.1, of="peak_bytes")]
    peaks = {side: rounds.median(found, "peak_bytes") for side, found in runs.items()}
    good = rounds.report(f"memory of the second cycle, orders at scale {scale:g}", runs, bars, packages=PACKAGES)
    print(f"peak: {max(peaks.values()) / 2**20:.0f} MiB; asked <= 1024 MiB")
    return good and max(peaks.values()) <= 2**30


def baseline(scale: float, count: int) -> bool:
    """Bar 5."""
    _, new = tpch.states(tpch.ORDERS, scale)
    copy, silent, loud = "DuckDB sorted copy", "differ first cycle, snapshot-only", "differ first cycle, with events"
    sides = [rounds.Side(name=copy, command=_run("sorted", "orders", new))]
    for name, kind in ((silent, "snapshot-only"), (loud, "events")):
        project = tpch.BUILD / f"project-{kind}"
        sides.append(
            rounds.Side(
                name=name,
                command=_run("cycle", "orders", project),
                prepare=lambda project=project, kind=kind: _fresh(tpch.ORDERS, project, [new], kind),  # type: ignore[misc]
            )
        )
    runs = rounds.in_turns(sides, count)
    bars = [rounds.Bar(ours=silent, peer=copy, limit=1.0), rounds.Bar(ours=loud, peer=copy, limit=1.8)]
    return rounds.report(f"first cycle, orders at scale {scale:g}", runs, bars, packages=PACKAGES)


def volume(scale: float) -> bool:
    """Bar 10."""
    old, new = tpch.states(tpch.ORDERS, scale)
    base = committed(tpch.ORDERS, [old])
    written = {}
    for name, state in (("nothing changed", old), ("1 % updates, 0.5 % deletes, 0.5 % inserts", new)):
        project = _project(base, "volume")
        _sources(tpch.ORDERS, project, [state], "snapshot-only")
        before = _bytes(project)
        rounds.measured(_run("cycle", "orders", project))
        written[name] = _bytes(project) - before
    for name, size in written.items():
        print(f"bytes added on disk, orders at scale {scale:g}, {name}: {size:,}")
    return written["nothing changed"] < 1_000_000


def committed(table: tpch.Table, states: Sequence[Path]) -> Path:
    """A project whose first cycle took these states, made once."""
    base = states[0].with_name(f"{states[0].stem}-committed{len(states)}")
    if not (base / "done").exists():
        _fresh(table, base, states, "snapshot-only")
        rounds.measured(_run("cycle", table.name, base))
        (base / "done").touch()
    return base


def cycle_side(name: str, table: tpch.Table, base: Path, states: Sequence[Path]) -> rounds.Side:
    """The second cycle of a project that `committed` gave, whose source now reads these states."""
    project = tpch.BUILD / f"project-{len(states)}"

    def prepare() -> None:
        _project(base, project.name)
        _sources(table, project, states, "snapshot-only")

    return rounds.Side(name=name, command=_run("cycle", table.name, project), prepare=prepare)


def _project(base: Path, name: str) -> Path:
    """A copy of a project; what never changes is linked, not copied."""
    project = tpch.BUILD / name
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(base, project, copy_function=_link_or_copy, symlinks=True)
    return project


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith((".parquet", ".arrow")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _fresh(table: tpch.Table, project: Path, states: Sequence[Path], baseline: str) -> None:
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    _sources(table, project, states, baseline)


def _sources(table: tpch.Table, project: Path, states: Sequence[Path], baseline: str) -> None:
    paths = ", ".join(str(path) for path in states)
    text = SCHEDULER.format(name=table.name, paths=paths, key=", ".join(table.key), baseline=baseline)
    (project / "scheduler.yaml").write_text(text)


def _bytes(project: Path) -> int:
    return sum(path.stat().st_size for path in project.rglob("*") if path.is_file())


def _same_changes(runs: dict[str, list[rounds.Run]]) -> None:
    found = {name: {run.output["changes"] for run in side} for name, side in runs.items()}
    if len(set().union(*found.values())) != 1:
        sys.exit(f"the sides do not agree on what changed: {found}")


def _run(name: str, *arguments: Any) -> list[str]:
    return [sys.executable, __file__, "--run", name, *(str(argument) for argument in arguments)]


# -- what runs in a process of its own --------------------------------------------------------------------------------


def run_cycle(source: str, project: str) -> None:
    """One cycle of differ."""
    import differ
    import differ.config.loading
    import differ.cycle.procedure
    import differ.iterators.files.plugin
    import differ.project  # all that a cycle would import when it is first asked for

    start = time.perf_counter()
    with differ.open(project) as opened:
        result = opened.scan(source)
    seconds = time.perf_counter() - start
    if result.status not in ("committed", "unchanged"):
        sys.exit(f"{result.status}: {result.error or result.reason}")
    print(json.dumps({"seconds": seconds, "changes": result.changes, "phases": result.seconds}))


def run_join(name: str, old: str, new: str) -> None:
    """DuckDB's full outer join of both states, the changed pairs written to a file."""
    import duckdb

    key = TABLES[name].key
    same = " AND ".join(f"o.{column} = n.{column}" for column in key)
    missing = f"o.{key[0]} IS NULL OR n.{key[0]} IS NULL"
    target = tpch.BUILD / "changes.parquet"
    query = (
        f"COPY (SELECT o, n FROM '{old}' o FULL OUTER JOIN '{new}' n ON {same} "
        f"WHERE {missing} OR (o IS DISTINCT FROM n)) TO '{target}'"
    )
    start = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(query)
    seconds = time.perf_counter() - start
    _print_changes(seconds, target)


def run_kept(name: str, old: str, new: str, kept: str) -> None:
    """DuckDB with a table of its own of key and row hashes, which it keeps up; images are fetched for what changed."""
    import duckdb

    table = TABLES[name]
    key, keys = ", ".join(table.key), table.key
    both = " AND ".join(f"h.{column} = n.{column}" for column in keys)
    chosen = ", ".join(f"coalesce(h.{column}, n.{column}) AS {column}" for column in keys)
    target = tpch.BUILD / "changes.parquet"
    hashed = f"SELECT {key}, hash({', '.join(table.columns)}) AS row_hash FROM '{new}'"
    statements = [
        f"""CREATE TEMP TABLE changed AS SELECT {chosen}, n.row_hash FROM h FULL OUTER JOIN ({hashed}) n ON {both}
            WHERE h.{keys[0]} IS NULL OR n.{keys[0]} IS NULL OR h.row_hash <> n.row_hash""",
        f"""COPY (SELECT o, n FROM (FROM '{old}' SEMI JOIN changed USING ({key})) o FULL OUTER JOIN
            (FROM '{new}' SEMI JOIN changed USING ({key})) n USING ({key})) TO '{target}'""",
        f"DELETE FROM h USING changed c WHERE {' AND '.join(f'h.{column} = c.{column}' for column in keys)}",
        f"INSERT INTO h SELECT {key}, row_hash FROM changed WHERE row_hash IS NOT NULL",
    ]
    start = time.perf_counter()
    with duckdb.connect(kept) as connection:
        for statement in statements:
            connection.execute(statement)
    seconds = time.perf_counter() - start
    _print_changes(seconds, target)


def run_sorted(name: str, state: str) -> None:
    """DuckDB reading a state and writing a copy that is sorted by key."""
    import duckdb

    target = tpch.BUILD / "sorted.parquet"
    start = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM '{state}' ORDER BY {', '.join(TABLES[name].key)}) TO '{target}'")
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds}))


def _keep(table: tpch.Table, old: Path, kept: Path) -> None:
    import duckdb

    kept.unlink(missing_ok=True)
    with duckdb.connect(str(kept)) as connection:
        hashed = f"SELECT {', '.join(table.key)}, hash({', '.join(table.columns)}) AS row_hash FROM '{old}'"
        connection.execute(f"CREATE TABLE h AS {hashed}")


def _print_changes(seconds: float, target: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT count(*) FROM '{target}'").fetchone()
    target.unlink()
    print(json.dumps({"seconds": seconds, "changes": found[0] if found else 0}))


TABLES = {"orders": tpch.ORDERS, "lineitem": tpch.LINEITEM}
RUNS = {"cycle": run_cycle, "join": run_join, "kept": run_kept, "sorted": run_sorted}


if __name__ == "__main__":
    main()
