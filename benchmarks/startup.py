"""What a short command costs: `differ --help`, the imports of a scan, and a scan of 1,000 rows that finds no change.

    python benchmarks/startup.py [--rounds 5] [--rows 1000]

All in turns with an empty Python. The bars are seconds, not ratios, so they ask for a quiet machine: a scan <= 0.6 s
from the start of the process to its end, of which imports <= 0.35 s; help <= 0.15 s. What the packages that a scan
stands on take alone is measured beside: below that no scan can come that uses them. Bytecode is cached before, as it
is from the second call on in every installation that may write it.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from rounds import Side, in_turns, median, report

SCHEDULER = """\
version: 1
sources:
  orders:
    iterator: sql
    options: {url: "sqlite:///shop.db", table: orders}
    key: id
"""
NAMES = """
import sys
from differ.cli.main import run
assert run(["scan", "--source", "orders", "-q", "--project", sys.argv[1]]) == 0
print(*(name for name in sys.modules if name.isascii() and name != "__main__"), file=sys.stderr)
"""
IMPORTS = """
import sys, time
start = time.perf_counter()
import gc, importlib, json
from differ.cli.main import GC_THRESHOLDS
gc.set_threshold(*GC_THRESHOLDS)
from differ.records.pandas_later import ask_pandas_later
ask_pandas_later()
for name in json.load(open(sys.argv[1])):
    importlib.import_module(name)
gc.freeze()  # as the command does
print(json.dumps({"seconds": time.perf_counter() - start}))
"""
PYTHON, HELP, IMPORT, SCAN = "an empty Python", "differ --help", "the imports of a scan", "differ scan, no change"
PACKAGES = ("numpy", "pyarrow.compute", "sqlalchemy", "pydantic.types", "yaml", "click")
SECONDS_MAX = {HELP: 0.15, IMPORT: 0.35, SCAN: 0.6}


def main() -> None:
    """Make the shop, scan it once, run the rounds, say which bars hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    import differ

    compileall.compile_dir(Path(differ.__file__).parent, quiet=1)
    command = str(Path(sys.executable).with_name("differ"))
    with tempfile.TemporaryDirectory(prefix="differ-bench-") as name:
        folder = Path(name)
        _make_shop(folder, arguments.rows)
        scan = [command, "scan", "--source", "orders", "--json", "--project", name]
        subprocess.run(scan, check=True, capture_output=True)
        (folder / "modules.json").write_text(json.dumps(_modules(folder)))
        runs = in_turns(
            [
                Side(name=PYTHON, command=[sys.executable, "-c", "pass"]),
                Side(name=HELP, command=[command, "--help"]),
                Side(name=IMPORT, command=[sys.executable, "-c", IMPORTS, str(folder / "modules.json")]),
                Side(name=SCAN, command=scan),
                *(Side(name=f"import {name}", command=[sys.executable, "-c", f"import {name}"]) for name in PACKAGES),
            ],
            arguments.rounds,
        )
    assert all(run.output["status"] == "unchanged" for run in runs[SCAN]), runs[SCAN]
    found = {side: round(median(runs[side], "wall"), 3) for side in runs}
    report("start-up", runs, packages=("sqlalchemy", "pydantic", "click"), notes={"seconds": found})
    good = True
    for side, limit in SECONDS_MAX.items():
        good = good and found[side] <= limit
        print(f"{side}: {found[side]:.3f} s; asked <= {limit:g} s: {'holds' if found[side] <= limit else 'MISSED'}")
    sys.exit(0 if good else 1)


def _make_shop(folder: Path, rows: int) -> None:
    (folder / "scheduler.yaml").write_text(SCHEDULER)
    connection = sqlite3.connect(folder / "shop.db")
    connection.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, total NUMERIC(10, 2), placed TIMESTAMP)"
    )
    connection.executemany(
        "INSERT INTO orders VALUES (?, ?, ?, '2024-02-29 12:00:00')",
        ((number, f"status {number % 7}", number * 1.25) for number in range(rows)),
    )
    connection.commit()
    connection.close()


def _modules(folder: Path) -> list[str]:
    """The modules that a scan without changes has imported at its end, in that order; those of Python's start too."""
    done = subprocess.run(
        [sys.executable, "-c", NAMES, str(folder)], check=True, capture_output=True, text=True, env=os.environ
    )
    return [name for name in done.stderr.split() if importable(name)]


def importable(name: str) -> bool:
    """Whether a name in `sys.modules` can be imported by it; some packages put others' modules there."""
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False


if __name__ == "__main__":
    main()
