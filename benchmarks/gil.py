"""How much of a cycle some thread holds the interpreter's lock (the GIL): second cycle of TPC-H orders from Parquet.

    python benchmarks/gil.py [--scale 1] [--rounds 3]

py-spy reads from outside, at random moments 500 times a second, which thread's state CPython has noted as the lock's
holder; it neither stops the process nor takes the lock, so nothing is slowed by it and nothing has to wait. The share
is the samples with a holder, of all that fell into the cycle: its seconds times the rate. Two programs are measured the
same way in each round and say how far to trust the figure: one that computes in Python all the time (100 %) beside a
thread that hashes without the lock, so that both cores are busy, and one that only hashes (0 %).

Chosen over a thread that asks for the lock and times how long it waits (as gilknocker does): such a thread makes
holders let go, waits for a core as well as for the lock, and cannot tell one from the other on busy cores. py-spy is a
tool of this benchmark, installed by pip into an environment of its own under `build/`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable

import cycle
import rounds
import tpch

RATE = 500
CALIBRATION_SECONDS = 3.0
TOOL = tpch.BUILD.parent / "py-spy"


def main() -> None:
    """Measure in turns; print the median share of each program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        _wait_and_run(*arguments.run)
        return
    old, new = tpch.states(tpch.ORDERS, arguments.scale)
    side = cycle.cycle_side("cycle", tpch.ORDERS, cycle.committed(tpch.ORDERS, [old]), [new])
    shares: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        assert side.prepare is not None
        side.prepare()
        for name in PROGRAMS:
            shares.setdefault(name, []).append(measured(name, *side.command[-2:]))
    print(f"second cycle, orders at scale {arguments.scale:g}; {rounds.machine()}; {rounds.versions(())}")
    for name, found in shares.items():
        spread = f"{min(found):.0%} to {max(found):.0%}"
        print(f"{name:<8} the lock is held {statistics.median(found):4.0%} of the time ({spread})")


def measured(*program: str) -> float:
    """Run a program of PROGRAMS in a process of its own; the share of its seconds in which a thread held the lock."""
    command = [sys.executable, __file__, "--run", *program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        out = TOOL / f"samples-{process.pid}.txt"
        options = ["--nonblocking", "--gil", "--format", "raw", "--rate", str(RATE), "--duration", "unlimited"]
        spy = subprocess.Popen(
            [_tool(), "record", *options, "--output", str(out), "--pid", str(process.pid)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert spy.stdout is not None
        said = spy.stdout.readline()
        while "Sampling process" not in said:
            if not said:
                sys.exit(f"py-spy could not attach: {said}")
            said = spy.stdout.readline()
        process.stdin.write("go\n")
        process.stdin.flush()
        seconds = float(process.stdout.readline())
        # The lock is not held while the process waits to be let go; so what follows adds nothing.
        time.sleep(0.1)
        process.stdin.close()
        spy.communicate()
    samples = sum(int(line.rpartition(" ")[2]) for line in out.read_text().splitlines())
    out.unlink()
    return samples / (RATE * seconds)


def _wait_and_run(name: str, *arguments: str) -> None:
    work = PROGRAMS[name](*arguments)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    work()
    print(time.perf_counter() - start, flush=True)
    sys.stdin.read()


def _cycle(source: str, project: str) -> Callable[[], None]:
    import differ

    def work() -> None:
        with differ.open(project) as opened:
            result = opened.scan(source)
        assert result.status == "committed", result

    return work


def _python(*_: str) -> Callable[[], None]:
    end = [0.0]

    def spin() -> None:
        while time.perf_counter() < end[0]:
            pass

    def work() -> None:
        end[0] = time.perf_counter() + CALIBRATION_SECONDS
        beside = threading.Thread(target=_hash_until, args=(end[0],))
        beside.start()
        spin()
        beside.join()

    return work


def _hashing(*_: str) -> Callable[[], None]:
    return lambda: _hash_until(time.perf_counter() + CALIBRATION_SECONDS)


def _hash_until(end: float) -> None:
    """hashlib lets go of the lock for data of this size."""
    import hashlib

    data = bytes(64 << 20)
    while time.perf_counter() < end:
        hashlib.blake2b(data)


def _tool() -> str:
    """py-spy, installed when it is not there yet."""
    program = TOOL / "bin" / "py-spy"
    if not program.exists():
        venv.create(TOOL, with_pip=True)
        pip = [str(TOOL / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "py-spy>=0.4,<1"], check=True)
    return str(program)


PROGRAMS = {"cycle": _cycle, "python": _python, "hashing": _hashing}


if __name__ == "__main__":
    main()
