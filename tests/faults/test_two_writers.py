"""Two schedulers on one project: one that was stopped past the end of what it held, and goes on, commits nothing.

A source's lease is a lock that vanishes with its process or session, and an epoch that the commit checks. See also
tests/catalog/test_processes.py (SQLite: busy, waiting, killed, a lock that was lost).
"""

import itertools
import signal
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

import differ
from tests.cli.shop import Shop
from tests.faults.conftest import sized
from tests.runtime.running import Running, running

PLUGIN = """
import os, time
from pathlib import Path
from differ.iterators import iterator

@iterator(key="id", consistent=True)
def shared(ctx):
    folder = Path(ctx.project)
    number = int((folder / "value").read_text())
    yield [{"id": 1, "v": number}]
    # The first who comes waits here until it is told to go on; nobody else does.
    try:
        (folder / "waiting").touch(exist_ok=False)
    except FileExistsError:
        return
    (folder / "pid").write_text(str(os.getpid()))
    os.rename(folder / "pid", folder / "reading")
    while not (folder / "go").exists():
        time.sleep(0.02)
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def catalog(request: pytest.FixtureRequest) -> str | None:
    """The URL of a shared catalog; None for the project's own, of SQLite."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def shop(tmp_path: Path, catalog: str | None) -> Shop:
    made = Shop(tmp_path)
    made.plugin("shared", PLUGIN)
    more = {"storage": {"catalog": catalog}} if catalog else {}
    made.configure(
        {"things": {"iterator": "shared", "schedule": {"every": "1s"}, "guards": {"deletes": "100%"}}}, **more
    )
    (tmp_path / "value").write_text("1")
    return made


def stop(process: Running) -> list[psutil.Process]:
    """SIGSTOP a scheduler and its children; returns all of them."""
    parent = psutil.Process(process.process.pid)
    family = [parent, *parent.children(recursive=True)]
    for one in family:
        one.send_signal(signal.SIGSTOP)
    return family


def end_lease(shop: Shop, catalog: str | None) -> None:
    """What a machine that is gone for long loses: its sessions of a server, its locks of a file system."""
    if catalog is None:
        (shop.folder / ".differ" / "locks" / "things.lock").unlink()
        return
    engine = sa.create_engine(catalog, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    engine.dispose()


@pytest.mark.crash
@pytest.mark.timeout(300)
def test_who_slept_past_its_lease_commits_nothing(shop: Shop, catalog: str | None) -> None:
    with ExitStack() as stack:
        late = stack.enter_context(running(shop, "--only", "scheduler"))
        late.wait_for("scan things: started")
        while not (shop.folder / "reading").exists():
            assert late.process.poll() is None
        family = stop(late)
        end_lease(shop, catalog)
        (shop.folder / "value").write_text("2")
        other = stack.enter_context(running(shop, "--only", "scheduler"))
        other.wait_for("things cycle 2 committed, 1 rows \\+1 ~0 -0, SCN 1..1")
        (shop.folder / "go").touch()
        for one in family:
            one.send_signal(signal.SIGCONT)
        late.wait_for("scan things: skipped: another writer holds the source")
        for value in range(3, 3 + sized(1, 30)):  # Both go on, and each change comes once, whoever finds it.
            (shop.folder / "value").write_text(str(value))
            other.wait_for("things cycle .* (committed|unchanged)")
            late.wait_for("things cycle .* (committed|unchanged)|skipped: another writer")
        last = value
    with differ.open(shop.folder) as project:
        for result in project.scan_all():
            assert result.status in ("committed", "unchanged"), result
        events = list(project.events())
        values = [(event.op, event.before and event.before["v"], event.after and event.after["v"]) for event in events]
        assert [event.scn for event in events] == list(range(1, len(events) + 1))
        assert values[0] == ("insert", None, 2), "what the stale one had read is nowhere"
        for (_, _, earlier), (op, before, after) in itertools.pairwise(values):
            assert (op, before) == ("update", earlier)
            assert after > before
        assert values[-1][2] == last
        statuses = {entry.cycle: entry.status for entry in project.catalog.cycles("things")}
        assert statuses[1] == "failed"
        assert project.check(read_data=True) == []


@pytest.mark.crash
@pytest.mark.timeout(300)
def test_while_it_sleeps_with_its_lease_nobody_else_writes(tmp_path: Path) -> None:
    """A lock of this machine lasts as long as its process: others are busy until it wakes up and commits."""
    shop = Shop(tmp_path)
    shop.plugin("shared", PLUGIN)
    shop.configure({"things": {"iterator": "shared", "schedule": {"every": "1s"}}})
    (tmp_path / "value").write_text("1")
    with running(shop, "--only", "scheduler") as late:
        while not (shop.folder / "reading").exists():
            assert late.process.poll() is None
        family = stop(late)
        try:
            busy = shop.run("scan", "--all", "--json")
            assert (busy.code, busy.lines[0]["status"]) == (6, "busy")
        finally:
            (shop.folder / "go").touch()
            for one in family:
                one.send_signal(signal.SIGCONT)
        late.wait_for("things cycle 1 committed, 1 rows \\+1 ~0 -0, SCN 1..1")
