"""The running scheduler, with small programs in the place of `differ scan`."""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from differ.config import load
from differ.errors import register_secret
from differ.model import CycleResult
from differ.schedule import Scheduler

DEADLINE_SECONDS = 30.0
FOREVER = "import signal\nwhile True: signal.pause()\n"


class Journal(logging.Handler):
    """The log's lines, and a way to wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        with self._more:
            self.lines.append(f"{record.levelname} {record.getMessage()}")
            self._more.notify_all()

    def has(self, part: str) -> bool:
        """Whether a line holds this text."""
        return any(part in line for line in self.lines)

    def await_line(self, part: str) -> str:
        """Wait until some line holds this text, and return the first that does."""
        with self._more:
            assert self._more.wait_for(lambda: self.has(part), DEADLINE_SECONDS), self.lines
            return next(line for line in self.lines if part in line)


@pytest.fixture
def journal() -> Iterator[Journal]:
    handler, logger = Journal(), logging.getLogger("differ.schedule")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@contextmanager
def running(folder: Path, program: str, sources: str, *, workers: int = 4, grace: float = 20) -> Iterator[Scheduler]:
    """A started scheduler whose children run `program`; stopped at the end."""
    (folder / "scheduler.yaml").write_text(f"sources: {{{sources}}}\nexecutor: {{workers: {workers}}}\n")
    scheduler = Scheduler(load(folder, environ={}), command=(sys.executable, "-u", "-c", program), grace_seconds=grace)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


def source(name: str, more: str = "") -> str:
    return f"{name}: {{iterator: sql, schedule: {{every: 1h}}{more}}}"


def test_a_child_gets_the_job_and_the_project_and_its_output_is_logged(tmp_path: Path, journal: Journal) -> None:
    program = "import sys; print(*sys.argv[1:]); print('progress', file=sys.stderr)"
    with running(tmp_path, program, source("orders")):
        journal.await_line("scan orders: finished after")
    assert journal.has(f"INFO orders: scan --source orders --unless-paused --json --project {tmp_path}")
    assert journal.has("INFO orders: progress")


def test_secrets_in_a_childs_output_are_hidden(tmp_path: Path, journal: Journal) -> None:
    register_secret("correct-horse-battery")
    with running(tmp_path, "print('password correct-horse-battery')", source("orders")):
        journal.await_line("finished")
    assert journal.has("orders: password ***")
    assert not journal.has("correct-horse")


def test_output_that_is_no_text_or_has_no_end_of_line_is_logged(tmp_path: Path, journal: Journal) -> None:
    program = "import sys; sys.stdout.buffer.write(b'\\xff' + b'x' * 200_000)"
    with running(tmp_path, program, source("orders")):
        journal.await_line("finished")
    assert sum(line.count("x") for line in journal.lines) >= 200_000


def test_the_result_of_a_scan_is_told_in_words(tmp_path: Path, journal: Journal) -> None:
    result = CycleResult(source="orders", cycle=7, status="committed", rows=3, inserts=1, scn_first=8, scn_last=8)
    error = {"error": {"message": "no such table", "hint": None, "exit_code": 3}}
    lines = [json.dumps(result.to_json()), json.dumps(error), "{not json", '{"of": "a plugin"}']
    program = f"import sys; print(*{lines!r}, sep='\\n'); sys.exit('error: no such table')"
    with running(tmp_path, program, source("orders")):
        journal.await_line("after")
    assert journal.has("INFO orders: orders cycle 7 committed, 3 rows +1 ~0 -0, SCN 8..8")
    assert journal.has("ERROR orders: error: no such table")
    assert not journal.has('"message"')
    assert journal.has("INFO orders: {not json")
    assert journal.has('INFO orders: {"of": "a plugin"}')


@pytest.mark.parametrize(
    ("end", "line"),
    [
        ("sys.exit(0)", "INFO scan orders: finished after"),
        ("raise ValueError", "ERROR scan orders: crashed after"),
        ("sys.exit(2)", "ERROR scan orders: refused: usage or configuration"),
        ("sys.exit(3)", "ERROR scan orders: failed after"),
        ("sys.exit(4)", "WARNING scan orders: is held by a guard; see 'differ status'"),
        ("sys.exit(5)", "ERROR scan orders: found corruption; run 'differ check'"),
        ("sys.exit(6)", "INFO scan orders: skipped: another writer holds the source"),
        ("sys.exit(130)", "WARNING scan orders: was interrupted"),
        ("sys.exit(77)", "ERROR scan orders: ended with the unknown exit code 77"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ERROR scan orders: died of SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "ERROR scan orders: died of SIGKILL"),
    ],
)
def test_how_a_child_ended_is_told(tmp_path: Path, journal: Journal, end: str, line: str) -> None:
    with running(tmp_path, f"import os, signal, sys; {end}", source("orders")):
        journal.await_line(line)


def test_a_command_that_cannot_be_started_is_told_and_the_scheduler_lives(tmp_path: Path, journal: Journal) -> None:
    (tmp_path / "scheduler.yaml").write_text(f"sources: {{{source('orders')}}}")
    scheduler = Scheduler(load(tmp_path, environ={}), command=(str(tmp_path / "missing"),))
    scheduler.start()
    journal.await_line("ERROR scan orders: the child could not be started")
    scheduler.stop()


def test_a_job_does_not_overlap_itself(tmp_path: Path, journal: Journal) -> None:
    every_second = "orders: {iterator: sql, schedule: {every: 1s}}"
    with running(tmp_path, FOREVER, every_second):
        journal.await_line(
            "scan orders: the last turn is still running, or waits for a free worker; this one is skipped"
        )
    assert sum("scan orders: started" in line for line in journal.lines) == 1


def test_a_job_comes_again(tmp_path: Path, journal: Journal) -> None:
    turns = tmp_path / "turns"
    program = (
        f"import pathlib, sys; turns = pathlib.Path({str(turns)!r}); known = turns.exists(); turns.touch()\n"
        "sys.exit(4 if known else 3)"
    )
    with running(tmp_path, program, "orders: {iterator: sql, schedule: {every: 1s}}"):
        journal.await_line("ERROR scan orders: failed")
        journal.await_line("WARNING scan orders: is held")


def test_no_more_children_run_at_once_than_there_are_workers(tmp_path: Path, journal: Journal) -> None:
    names = ["a", "b", "c"]
    with running(tmp_path, "pass", ", ".join(map(source, names)), workers=1):
        for name in names:
            journal.await_line(f"scan {name}: finished")
    steps = [line.split()[3].rstrip(",") for line in journal.lines if line.startswith("INFO scan")]
    assert steps == ["started", "finished"] * 3


def test_jobs_run_side_by_side_where_there_is_room(tmp_path: Path, journal: Journal) -> None:
    with running(tmp_path, FOREVER, f"{source('a')}, {source('b')}", workers=2):
        journal.await_line("scan a: started")
        journal.await_line("scan b: started")


def test_a_child_that_outlives_its_timeout_is_asked_to_end(tmp_path: Path, journal: Journal) -> None:
    program = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n" + FOREVER
    with running(tmp_path, program, source("orders", ", timeout: 0.1s"), grace=2):
        journal.await_line("ERROR scan orders: still running 2 s after its timeout")
        journal.await_line("WARNING scan orders: was interrupted")
    assert not journal.has("killing it")


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path, journal: Journal) -> None:
    program = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf')\n" + FOREVER
    with running(tmp_path, program, source("orders", ", timeout: 0.1s"), grace=0.5):
        journal.await_line("ERROR scan orders: died of SIGKILL")


def test_what_a_child_leaves_behind_is_ended(tmp_path: Path, journal: Journal) -> None:
    program = (
        "import subprocess, sys\n"
        f"left = subprocess.Popen([sys.executable, '-c', {FOREVER!r}])\n"
        "print('left', left.pid)\n"
    )
    with running(tmp_path, program, source("orders")):
        pid = int(journal.await_line("orders: left").split()[-1])
        journal.await_line("left processes behind; killing them")
        journal.await_line("scan orders: finished")
    assert_gone(pid)


def test_stopping_passes_sigterm_on_and_leaves_no_child(tmp_path: Path, journal: Journal) -> None:
    program = (
        "import os, signal, sys\n"
        "def end(*_): print('told to end'); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('pid', os.getpid())\n" + FOREVER
    )
    with running(tmp_path, program, source("orders")) as scheduler:
        pid = int(journal.await_line("orders: pid").split()[-1])
        scheduler.stop()
        assert journal.has("orders: told to end")
        assert journal.has("WARNING scan orders: was interrupted")
        assert_gone(pid)
        scheduler.stop()


def test_stopping_kills_a_deaf_child_after_the_grace(tmp_path: Path, journal: Journal) -> None:
    program = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('pid', os.getpid())\n" + FOREVER
    with running(tmp_path, program, source("orders"), grace=0.5) as scheduler:
        pid = int(journal.await_line("orders: pid").split()[-1])
        scheduler.stop()
        assert_gone(pid)
    assert journal.has("ERROR scan orders: does not end, killing it")


def test_stopping_ends_a_wait_for_jitter_or_a_free_place(tmp_path: Path, journal: Journal) -> None:
    waits = "late: {iterator: sql, schedule: {every: 10000h, jitter: 9999h}}"
    with running(tmp_path, FOREVER, f"{source('a')}, {source('b')}, {waits}", workers=1):
        journal.await_line("started")
    assert sum(": started" in line for line in journal.lines) == 1


def test_without_any_schedule_it_says_so(tmp_path: Path, journal: Journal) -> None:
    with running(tmp_path, "pass", "orders: {iterator: sql}"):
        pass
    assert journal.has("WARNING schedule: no source or consistency group has a schedule")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_its_children_and_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "scheduler.yaml").write_text(f"sources: {{{source('orders')}}}")
    child = (
        "import os, signal, sys\n"
        "def end(*_): print('told to end'); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('pid', os.getpid())\n" + FOREVER
    )
    program = (
        "import logging, sys\nfrom pathlib import Path\nfrom differ.config import load\n"
        "from differ.runtime import Runtime, SchedulerModule\nfrom differ.schedule import Scheduler\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(message)s')\n"
        f"settings = load(Path({str(tmp_path)!r}), environ={{}})\n"
        f"make = lambda settings: Scheduler(settings, command=(sys.executable, '-u', '-c', {child!r}))\n"
        f"Runtime({{'scheduler': SchedulerModule(settings, make)}}).run_forever(Path({str(tmp_path)!r}) / 'run')\n"
    )
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = next(int(line.split()[-1]) for line in process.stdout if line.startswith("orders: pid"))
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(DEADLINE_SECONDS) == 0
    assert f"runtime: {number.name}, stopping" in rest
    assert "orders: told to end" in rest
    assert_gone(pid)


def assert_gone(pid: int) -> None:
    """The process ends, or has ended; a file descriptor of a process is readable once it has."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], DEADLINE_SECONDS)[0]
    finally:
        os.close(process)
