"""Rounds of peer and differ in turns, each run in a process of its own: what all benchmarks share.

    A B A B ...   wall, CPU and peak anonymous memory of each run's process tree; medians; ratios with their spread

Anonymous memory is what a process cannot give back: mapped files are the page cache's and are not counted. It is
sampled every 20 ms, so a shorter peak may be missed. A ratio is made round by round (ours / peer of the same round);
its spread is the smallest and largest of them. Every result is appended to `benchmarks/history.jsonl`.

The command of a side prints one JSON object as its last line. Where it holds `seconds`, that is the wall time compared
(the work alone, without starting Python and importing); otherwise the process's wall time is.

Source: TigerBeetle's devhub (a kept history); Fleming and Wallace, "How not to lie with statistics", CACM 1986.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

HISTORY = Path(__file__).with_name("history.jsonl")
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Side:
    """One contender. command: what is measured. prepare: called before each run, not measured."""

    name: str
    command: Sequence[str]
    prepare: Callable[[], None] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: wall seconds of the work, CPU seconds and peak anonymous bytes of the process tree, what it printed."""

    wall: float
    process_wall: float
    cpu: float
    peak_bytes: int
    output: Mapping[str, Any]


def measured(command: Sequence[str], *, env: Mapping[str, str] | None = None, accept: Sequence[int] = (0,)) -> Run:
    """Run a command whose last line of output is a JSON object; exits with its words when it fails."""
    before = os.times()
    start = time.perf_counter()
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    out, error = process.communicate()
    process_wall = time.perf_counter() - start
    after = os.times()
    watcher.join()
    if process.returncode not in accept:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{error or out}")
    lines = out.splitlines()
    output: dict[str, Any] = {}
    if lines and lines[-1].startswith("{"):
        output = json.loads(lines[-1])
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    seconds = output.get("seconds")
    wall = seconds if isinstance(seconds, int | float) else process_wall
    return Run(wall=float(wall), process_wall=process_wall, cpu=cpu, peak_bytes=peak[0], output=output)


def in_turns(sides: Sequence[Side], rounds: int, *, say: bool = True) -> dict[str, list[Run]]:
    """All sides once a round, in the order given."""
    runs: dict[str, list[Run]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            if side.prepare is not None:
                side.prepare()
            os.sync()  # what was written before is no part of what is measured now
            run = measured(side.command, env=side.env)
            runs[side.name].append(run)
            if say:
                print(
                    f"  round {number + 1}  {side.name:<46} {run.wall:7.2f} s  CPU {run.cpu:7.2f} s  "
                    f"{run.peak_bytes / 2**20:6.0f} MiB",
                    file=sys.stderr,
                )
    return runs


def median(runs: Sequence[Run], name: str) -> float:
    """The median of a field over the runs of one side."""
    return float(statistics.median(getattr(run, name) for run in runs))


def ratios(ours: Sequence[Run], peer: Sequence[Run], name: str = "wall") -> list[float]:
    """ours / peer, round by round."""
    return [getattr(a, name) / max(getattr(b, name), 1e-9) for a, b in zip(ours, peer, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What is asked of a ratio of medians: at most (`<=`) or at least (`>=`) `limit`."""

    ours: str
    peer: str
    limit: float
    of: str = "wall"
    least: bool = False

    def holds(self, ratio: float) -> bool:
        """Whether a ratio passes."""
        return ratio >= self.limit if self.least else ratio <= self.limit


def report(
    name: str, runs: Mapping[str, Sequence[Run]], bars: Sequence[Bar] = (), *, packages: Sequence[str] = (),
    notes: Mapping[str, Any] | None = None,
) -> bool:  # fmt: skip
    """Print medians and ratios, append them to the history, and say whether all bars hold."""
    print(f"\n{name}\n{machine()}; {versions(packages)}")
    print(f"{'':<50} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9}")
    for side, found in runs.items():
        wall, cpu, peak = median(found, "wall"), median(found, "cpu"), median(found, "peak_bytes") / 2**20
        print(f"{side:<50} {wall:8.2f} {cpu:8.2f} {peak:9.0f}")
    shown, good = [], True
    for bar in bars:
        one, other = runs[bar.ours], runs[bar.peer]
        ratio = median(one, bar.of) / max(median(other, bar.of), 1e-9)
        spread = ratios(one, other, bar.of)
        holds = bar.holds(ratio)
        good = good and holds
        sign = ">=" if bar.least else "<="
        print(
            f"{bar.ours}: {ratio:.2f} x {bar.peer} in {bar.of} (rounds {min(spread):.2f} to {max(spread):.2f}); "
            f"asked {sign} {bar.limit:g}: {'holds' if holds else 'MISSED'}"
        )
        shown.append(
            {"ours": bar.ours, "peer": bar.peer, "of": bar.of, "ratio": round(ratio, 3), "limit": bar.limit,
             "spread": [round(min(spread), 3), round(max(spread), 3)], "holds": holds}
        )  # fmt: skip
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": name,
        "commit": _commit(),
        "machine": machine(),
        "versions": versions(packages),
        "sides": {side: [_shown(run) for run in found] for side, found in runs.items()},
        "bars": shown,
        **({"notes": dict(notes)} if notes else {}),
    }
    with HISTORY.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")
    return good


def machine() -> str:
    """Cores, system and Python."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def versions(packages: Sequence[str]) -> str:
    """The versions of differ and of the packages named."""
    found = []
    for name in ("differ-cdc", "pyarrow", "polars", "numpy", *packages):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(dict.fromkeys(found))


def _shown(run: Run) -> dict[str, Any]:
    return {
        "wall": round(run.wall, 3), "process_wall": round(run.process_wall, 3), "cpu": round(run.cpu, 3),
        "peak_bytes": run.peak_bytes,
    }  # fmt: skip


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _watch(pid: int, peak: list[int]) -> None:
    """Sample the tree until its root is gone. Which processes there are is asked ten times as seldom: it costs more."""
    tree: list[int] = [pid]
    for count in itertools.count():
        if count % 10 == 0:
            with contextlib.suppress(psutil.Error):
                tree = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        found = [_anonymous(member) for member in tree]
        if found[0] is None:
            return
        peak[0] = max(peak[0], sum(size or 0 for size in found))
        time.sleep(SAMPLE_SECONDS)


def _anonymous(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]
    return found[0] if found else None
