"""Seeded bugs: apply deliberate bugs one at a time to a copy of the tree, and see that the tests catch each.

    python tests/faults/mutations.py [NAME...]                                     those of mutants.py, or some of them
    python tests/faults/mutations.py --patch FILE.diff [--tests tests/cycle]...    one more, unknown so far

Prints a table of the mutations with the test that caught each. Ends with 1 when one survives or does not apply, and
with 2 when the tests fail without any mutation.
Source: DeMillo, Lipton, Sayward, "Hints on Test Data Selection", 1978.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.faults.mutants import MUTANTS, Mutant  # noqa: E402

LEFT_OUT = ("build", "dist", ".git", ".venv", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".differ")
SECONDS_MAX = 900
"""A mutation that makes the tests hang is caught, too."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (?P<test>tests/.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a mutation. verdict: caught, survived, does not apply; by: the first test that failed."""

    name: str
    breaks: str
    verdict: str
    by: str
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of mutants.py; none: all")
    parser.add_argument("--patch", type=Path, help="a diff (-p1) to apply instead")
    parser.add_argument("--tests", action="append", default=[], help="what to run instead; a patch: none for all tests")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutation: {', '.join(sorted(unknown))}; there are {', '.join(m.name for m in MUTANTS)}")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Where a shell's background job ignores it, tests would.
    with copied_tree() as tree:
        if chosen.patch is not None:
            if chosen.tests and fails_without(tree, chosen.tests):
                return 2
            outcomes = [try_patch(tree, chosen.patch.resolve(), chosen.tests or ["tests"])]
        else:
            mutants = [mutant for mutant in MUTANTS if not chosen.names or mutant.name in chosen.names]
            if chosen.tests:
                mutants = [replace(mutant, tests=tuple(chosen.tests)) for mutant in mutants]
            if fails_without(tree, sorted({test for mutant in mutants for test in mutant.tests})):
                return 2
            outcomes = [try_mutant(tree, mutant) for mutant in mutants]
    sys.stdout.write("\n" + table(outcomes))
    return 0 if all(outcome.verdict == "caught" for outcome in outcomes) else 1


def fails_without(tree: Path, selections: Sequence[str]) -> bool:
    """Whether the tests fail already without a mutation, which would catch everything."""
    code, by = run_tests(tree, selections)
    if code:
        sys.stdout.write(f"the tests fail without any mutation: {by}\n")
    return code != 0


def try_mutant(tree: Path, mutant: Mutant) -> Outcome:
    """Apply a mutant, run its tests, take it back."""
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        return report(mutant.name, mutant.breaks, "does not apply", f"{mutant.file} has the text not once", 0.0)
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        return judged(mutant.name, mutant.breaks, lambda: run_tests(tree, mutant.tests))
    finally:
        path.write_text(text)


def try_patch(tree: Path, patch: Path, tests: Sequence[str]) -> Outcome:
    """Apply a diff and run the tests."""
    name = patch.name
    command = ["patch", "-p1", "--batch", "--forward", "-i", str(patch)]
    applied = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if applied.returncode != 0:
        return report(name, "", "does not apply", (applied.stdout + applied.stderr).strip().replace("\n", "; "), 0.0)
    return judged(name, "", lambda: run_tests(tree, tests))


def judged(name: str, breaks: str, run: Callable[[], tuple[int, str]]) -> Outcome:
    """The outcome of a run: 0 means that nobody noticed."""
    began = time.monotonic()
    code, by = run()
    # 1: a test failed; 2 and more: nothing could be collected, or nothing was there to run.
    verdict = {0: "survived", 1: "caught"}.get(code, f"no verdict: pytest ended with {code}")
    return report(name, breaks, verdict, by, time.monotonic() - began)


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """pytest's exit code, and the first test that failed. The tree's own `differ` is imported, not an installed one."""
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "mutants",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"no end after {SECONDS_MAX} s"
    found = _FAILED.search(done.stdout)
    return done.returncode, found["test"] if found else done.stdout.strip().rpartition("\n")[2]


def report(name: str, breaks: str, verdict: str, by: str, seconds: float) -> Outcome:
    """Say at once how it ended, for all of them take minutes."""
    sys.stdout.write(f"{verdict:10} {seconds:6.1f} s  {name}: {by}\n")
    sys.stdout.flush()
    return Outcome(name=name, breaks=breaks, verdict=verdict, by=by, seconds=seconds)


def table(outcomes: Sequence[Outcome]) -> str:
    """All of it in Markdown."""
    lines = ["| seeded bug | what it breaks | verdict | caught by | s |", "|---|---|---|---|---|"]
    lines += [f"| `{o.name}` | {o.breaks} | {o.verdict} | `{o.by}` | {o.seconds:.0f} |" for o in outcomes]
    caught = sum(outcome.verdict == "caught" for outcome in outcomes)
    return "\n".join([*lines, "", f"{caught} of {len(outcomes)} caught", ""])


@contextmanager
def copied_tree() -> Iterator[Path]:
    """A copy of the working tree as it is, with the compiled kernels, in a folder that goes away."""
    folder = Path(tempfile.mkdtemp(prefix="differ-mutations-"))
    try:
        tree = folder / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        yield tree
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    raise SystemExit(main())
