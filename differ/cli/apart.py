"""A unit of `differ scan --all` in a process of its own, so that a plugin that takes its process down stops no other.

The child is `differ scan` with `--json`; its result lines are read, and its logs are passed on. What the
built-in iterators read is scanned in this process: starting one costs about a second.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from differ.catalog.locks import source_locks
from differ.cli.session import Session
from differ.errors import BusyError, HeldError, InterruptedScanError, SourceError
from differ.iterators.discovery import BUILT_IN
from differ.model import CycleResult
from differ.project import Project

STOP_SECONDS = 10.0
GRACE_SECONDS = 30.0
"""So long a child may outlive its timeout: it gives up by itself, unless its plugin holds the interpreter."""
STEP_SECONDS = 0.1
_TOO_LATE = -1_000
"""In the place of an exit code."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def needs_a_process(project: Project, unit: Sequence[str]) -> bool:
    """Whether a source of the unit is read by code that is not differ's own."""
    return any(project.settings.source(name).iterator not in BUILT_IN for name in unit)


def scan_apart(session: Session, project: Project, unit: Sequence[str], *, wait: bool) -> list[CycleResult]:
    """Run one cycle of a unit in a child process and return its results.

    A child that ends without a result is a failed cycle, recorded as such; so is one that GRACE_SECONDS after its
    timeout has not ended, which is ended then (not with `wait`: nobody knows when it begins to read). Raises
    InterruptedScanError when this process is told to stop; the child is stopped with it.
    """
    from differ.schedule import COMMAND

    command = [*COMMAND, "scan", "--source", unit[0], "--json", "--project", str(project.settings.project)]
    command += ["--with-parent", str(os.getpid()), *(["--wait"] if wait else [])]
    command += {-1: ["-q"], 1: ["-v"], 2: ["-vv"]}.get(session.verbosity, [])
    command += ["--log-format", session.log_format]
    timeouts = [seconds for name in unit if (seconds := project.settings.source(name).timeout_seconds) is not None]
    limit = min(timeouts) + GRACE_SECONDS if timeouts and not wait else None
    before = {name: _cycles(project, name) for name in unit}
    child = _Child(command)
    try:
        code = child.wait(limit)
        if code is None:
            child.stop()
            code = _TOO_LATE
    except (KeyboardInterrupt, InterruptedScanError):
        child.stop()
        raise InterruptedScanError(f"scan {', '.join(unit)}: interrupted; nothing of it was committed") from None
    read = [result for line in child.lines if (result := _result(line, code)) is not None]
    found = {result.source: result for result in read}
    return [found.get(name) or _lost(project, name, code, before[name]) for name in unit]


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, so that a killed scan leaves nobody with its locks."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(InterruptedScanError.exit_code)


class _Child:
    """A running child. It leads a session of its own, so that Ctrl-C reaches it through us alone."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process: subprocess.Popen[str] = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._stopping = False
        self.lines: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._keep_lines, self._pass_on)]
        for reader in self._readers:
            reader.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, None where it runs on after so many seconds; waits in short steps, since a signal does not end
        a long one once polars is loaded."""
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            try:
                code = self._process.wait(STEP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            for reader in self._readers:
                reader.join(STOP_SECONDS)
            return code
        return None

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; what it says about that is not passed on."""
        self._stopping = True
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)  # so that its locks are free

    def _keep_lines(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        self.lines.extend(self._process.stdout)

    def _pass_on(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        for line in self._process.stderr:
            if not self._stopping:
                sys.stderr.write(line)


def _result(line: str, code: int) -> CycleResult | None:
    """A result line; None for what a plugin wrote to the child's stdout itself. code: the child's exit code."""
    try:
        body = json.loads(line)
    except ValueError:
        return None
    if not isinstance(body, dict) or "status" not in body or "source" not in body:
        return None
    return _ended(CycleResult.from_json(body), code)


def _ended(result: CycleResult, code: int) -> CycleResult:
    exits = {"held": HeldError.exit_code, "busy": BusyError.exit_code}
    if result.status == "failed":
        return replace(result, exit_code=code if code > 0 else SourceError.exit_code)
    return replace(result, exit_code=exits.get(result.status, 0))


def _lost(project: Project, source: str, code: int, cycles: int) -> CycleResult:
    """What became of a source whose child said nothing; the catalog may have one more than the `cycles` before it."""
    if code == _TOO_LATE:
        how = f"had no end {GRACE_SECONDS:g} s after its timeout, and was killed"
    else:
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}, without a result"
    error = SourceError(f"scan {source}: its process {how}", hint="its iterator took the process down; see its log")
    with suppress(BusyError), source_locks(project.catalog, project.place.locks, [source]):
        project.catalog.fail_unfinished(source)
    for entry in project.catalog.cycles(source, status=["committed", "unchanged", "held"]):
        if entry.cycle > cycles:
            return _ended(CycleResult.from_json(entry.result), code)
    return CycleResult(
        source=source, cycle=_cycles(project, source), status="failed", error=error.message, hint=error.hint,
        exit_code=error.exit_code,
    )  # fmt: skip


def _cycles(project: Project, source: str) -> int:
    entry = project.catalog.source(source)
    return entry.cycles if entry else 0
