"""CPU seconds of a second cycle by thread: which stage the others wait for, and how near the cores are to being full.

    python benchmarks/threads.py [--table orders|lineitem] [--scale 10] [--updates 0.01] [--others 0.005]

Linux's accounts of each thread are read twenty times a second until the cycle ends, so a thread that lives for less
than a twentieth of a second may be missed; `all` is the process's own account.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections import Counter
from pathlib import Path

import cycle
import rounds
import tpch

EVERY_SECONDS = 0.05
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a line for each kind of thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=sorted(cycle.TABLES), default="orders")
    parser.add_argument("--scale", type=float, default=10)
    parser.add_argument("--updates", type=float, default=0.01)
    parser.add_argument("--others", type=float, default=0.005)
    arguments = parser.parse_args()
    table = cycle.TABLES[arguments.table]
    old, new = tpch.states(table, arguments.scale, updates=arguments.updates, others=arguments.others)
    cycle.cycle_side("cycle", table, cycle.committed(table, [old]), [new]).prepare()
    print(f"{rounds.machine()}; {rounds.versions(())}")
    by_name, wall, cpu, phases = watched(table.name, tpch.BUILD / "project-1")
    for name, seconds in by_name.most_common():
        if seconds >= EVERY_SECONDS:
            print(f"{name:<40} {seconds:7.2f} CPU s")
    print(f"{'all':<40} {cpu:7.2f} CPU s in {wall:.2f} s: {cpu / wall:.2f} cores")
    print("the comparing thread, wall: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in phases.items()))


def watched(source: str, project: Path) -> tuple[Counter[str], float, float, dict[str, float]]:
    """CPU seconds by kind of thread, wall seconds, CPU seconds of the process, and the cycle's own wall seconds."""
    import differ
    import differ.config.loading
    import differ.cycle.procedure
    import differ.iterators.files.plugin
    import differ.project  # all that a cycle would import when it is first asked for

    of_thread: dict[str, tuple[str, float]] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(EVERY_SECONDS):
            names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
            for number in os.listdir("/proc/self/task"):
                try:
                    fields = Path(f"/proc/self/task/{number}/stat").read_text().rpartition(") ")[2].split()
                except OSError:
                    continue
                seconds = (int(fields[11]) + int(fields[12])) / TICKS
                known = of_thread.get(number, (number, 0.0))[0]
                of_thread[number] = (names.get(number, known), seconds)

    watcher = threading.Thread(target=look, name="(this script)", daemon=True)
    watcher.start()
    before = time.perf_counter(), time.process_time()
    with differ.open(project) as opened:
        result = opened.scan(source)
    wall, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
    ended.set()
    watcher.join()
    by_name: Counter[str] = Counter()
    for name, seconds in of_thread.values():
        by_name["Arrow's threads" if name.isdecimal() else name.rstrip("0123456789").rstrip("_-")] += seconds
    return by_name, wall, cpu, result.seconds


if __name__ == "__main__":
    main()
