"""Stores that go away, hang, stall or change in mid-scan, through every way of reading: nothing is lost or made up.

What is read is the rows as they were, or the scan fails; after either, the next one is exact. See also
tests/road/test_outages.py, test_ddl_in_mid_scan.py and test_secrets.py.
"""

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from differ.cycle.procedure import Progress, RunOptions
from differ.model import CycleResult
from tests.cycle.conftest import world
from tests.cycle.world import World
from tests.faults.conftest import FULL
from tests.iterators.sql.scanning import run
from tests.road.proxy import Proxy
from tests.servers import MariaDB, PostgreSQL

__all__ = ["world"]

CANARY = "c4nary5ecret"
ROWS = 3_000
WIDTH = 4_000
"""Twelve megabytes are more than sockets and drivers hold, so that the server is needed to the end."""

WAYS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    # name: server, options of the iterator, settings of the source, what --explain says of it
    "COPY": ("postgresql", {}, {}, "COPY TO STDOUT, parsed by Arrow"),
    "COPY on three connections": ("postgresql", {"parallel": 3}, {}, "on 3 connections"),
    "rows of PostgreSQL": ("postgresql", {"fast": False}, {}, "fast: false"),
    "checksums of PostgreSQL": ("postgresql", {}, {"scan": "checksum"}, ""),
    "packed columns": ("mariadb", {}, {}, "packed"),
    "rows of MariaDB": ("mariadb", {"fast": False}, {}, "fast: false"),
    "checksums of MariaDB": ("mariadb", {}, {"scan": "checksum"}, ""),
}
OUTAGES = ["killed", "restarted", "frozen", "cut", "ended", "slowed", "permission lost"]
QUICK = {
    ("COPY", "cut"), ("COPY on three connections", "killed"), ("checksums of PostgreSQL", "ended"),
    ("packed columns", "ended"), ("checksums of MariaDB", "cut"), ("COPY", "slowed"), ("COPY", "permission lost"),
}  # fmt: skip


class SlowProxy(Proxy):
    """A wire that passes on what a client asks only after a while."""

    def passes(self, data: bytes) -> bool:
        time.sleep(0.02)
        return True


@dataclass(frozen=True)
class Shop:
    """A table `things` on a server, read by a user of its own who has a password."""

    server: PostgreSQL | MariaDB
    admin: str
    url: str

    def sql(self, *statements: str) -> None:
        run(self.admin, *statements)

    def end_sessions(self) -> None:
        """End every connection of the reading user."""
        if isinstance(self.server, PostgreSQL):
            self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reading'")
        else:
            self.sql("KILL CONNECTION USER reading")

    def grant(self, *, given: bool) -> None:
        table = "things" if isinstance(self.server, PostgreSQL) else f"{sa.make_url(self.admin).database}.things"
        user = "reading" if isinstance(self.server, PostgreSQL) else "reading@'127.0.0.1'"
        self.sql(f"GRANT SELECT ON {table} TO {user}" if given else f"REVOKE SELECT ON {table} FROM {user}")


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(request: pytest.FixtureRequest, way: str) -> Iterator[Shop]:
    kind = WAYS[way][0]
    server, admin = request.getfixturevalue(kind), str(request.getfixturevalue(f"{kind}_url"))
    if kind == "postgresql":
        rows = f"generate_series(1, {ROWS}) AS g(id)"
        user = ["DROP ROLE IF EXISTS reading", f"CREATE ROLE reading LOGIN PASSWORD '{CANARY}'"]
    else:
        rows = f"(SELECT seq AS id FROM seq_1_to_{ROWS}) AS g"
        user = [f"CREATE OR REPLACE USER reading@'127.0.0.1' IDENTIFIED BY '{CANARY}'"]
    url = sa.make_url(admin).set(username="reading", password=CANARY, host="127.0.0.1")
    made = Shop(server, admin, url.render_as_string(hide_password=False))
    made.sql(
        f"CREATE TABLE things (id INT PRIMARY KEY, v INT, t VARCHAR({WIDTH}))",
        f"INSERT INTO things SELECT id, id, '{'x' * WIDTH}' FROM {rows}",
        *user,
    )
    made.grant(given=True)
    yield made
    server.ensure()
    made.end_sessions()
    if kind == "postgresql":
        made.sql("DROP OWNED BY reading", "DROP ROLE reading")


@pytest.fixture
def reading(world: World, shop: Shop, way: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project that has scanned the table once; where it reads by checksums, everything has moved since then."""
    _, options, settings, _ = WAYS[way]
    monkeypatch.setattr("differ.cycle.procedure.CLOSE_SECONDS", 0.2)
    monkeypatch.setenv("SHOP_URL", shop.url)
    given = {"url": "${SHOP_URL}", "table": "things", "batch_rows": 100, **options}
    world.source("things", iterator="sql", options=given, timeout="60s", **settings)
    assert world.commit("things").inserts == ROWS
    return world


def scan_while(world: World, outage: Callable[[], None]) -> CycleResult:
    """A scan in the beginning of which something happens."""
    once = itertools.count()

    def progress(seen: Progress) -> None:
        if seen.phase == "scan" and seen.rows and next(once) == 0:
            outage()

    result = world.project.scan("things", RunOptions(on_progress=progress))
    assert next(once) > 0, result
    return result


def assert_secret_is_nowhere(world: World, *texts: str) -> None:
    for text in (*texts, str(world.project.status())):
        assert CANARY not in text
    for path in world.folder.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.crash
@pytest.mark.service
@pytest.mark.parametrize(
    ("way", "outage"),
    [(way, outage) for way in WAYS for outage in OUTAGES if FULL or (way, outage) in QUICK],
    indirect=["way"],
)
def test_an_outage_in_mid_scan(
    reading: World, shop: Shop, outage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, head = reading, ROWS
    shop.sql("UPDATE things SET v = v + 1")  # Whoever compares checksums has to read all of it.
    kept = world.files()
    wire: Proxy | None = None
    if outage in ("cut", "slowed"):
        wire = (SlowProxy if outage == "slowed" else Proxy)(shop.server.port)
        monkeypatch.setenv("SHOP_URL", shop.url.replace(f":{shop.server.port}/", f":{wire.port}/"))
        world.close()
    if outage == "frozen":
        world.source("things", timeout="2s")
    acts: dict[str, Callable[[], None]] = {
        "killed": shop.server.kill,
        "restarted": shop.server.restart,
        "frozen": shop.server.freeze,
        "cut": wire.cut if wire else lambda: None,
        "ended": shop.end_sessions,
        "slowed": lambda: None,
        "permission lost": lambda: shop.grant(given=False),
    }
    with caplog.at_level("DEBUG"):
        result = scan_while(world, acts[outage])
    if outage == "killed":
        down = world.scan("things")
        assert (down.status, down.exit_code, down.deletes or 0) == ("failed", 3, 0)
        assert_secret_is_nowhere(world, repr(down))
    shop.server.ensure()
    if outage == "permission lost":
        refused = world.scan("things")
        assert (refused.status, refused.exit_code) == ("failed", 3)
        assert_secret_is_nowhere(world, repr(refused))
        shop.grant(given=True)
    if wire is not None:
        wire.close()
        monkeypatch.setenv("SHOP_URL", shop.url)
    assert_secret_is_nowhere(world, repr(result), caplog.text)
    if outage in ("slowed", "permission lost") and result.status == "committed":
        assert (result.rows, result.updates, result.changes) == (ROWS, ROWS, ROWS)  # what was asked before is answered
        head += ROWS
    else:
        assert outage != "slowed"
        assert (result.status, result.exit_code) == ("failed", 3), result
        assert result.error
        assert result.error.startswith("scan things: ")
        assert ": unexpected " not in result.error
        assert result.hint
        assert world.files() == kept
    assert world.project.catalog.stream().head_scn == head
    world.source("things", timeout="60s")
    shop.sql("DELETE FROM things WHERE id = 2")
    after = world.scan("things")
    assert (after.status, after.inserts, after.deletes) == ("committed", 0, 1), after
    assert after.updates == (0 if head > ROWS else ROWS - 1)
    assert world.scan("things").status == "unchanged"
    world.verify("things")


@pytest.mark.service
@pytest.mark.parametrize("way", [way for way in WAYS if WAYS[way][3]], indirect=True)
def test_each_way_is_the_one_that_is_meant(reading: World, way: str) -> None:
    assert WAYS[way][3] in str(reading.project.explain(["things"]))


# -- a replica ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def standby() -> Iterator[tuple[PostgreSQL, PostgreSQL]]:
    """A primary of its own, and a hot standby that follows it."""
    with PostgreSQL() as primary:
        replica = PostgreSQL()
        replica.prepare()
        shutil.rmtree(replica.data)
        replica.data.mkdir(mode=0o700)
        if (uid := replica.owner()) is not None:
            os.chown(replica.data, uid, -1)
        try:
            place = ("-h", primary.host, "-p", str(primary.port), "-U", "postgres", "-D", replica.data)
            replica.run(replica._program("pg_basebackup"), *place, "-R", "-c", "fast", "--no-sync")
            replica._prepared = True
            replica.start()
            yield primary, replica
        finally:
            replica.close()


@pytest.mark.service
def test_a_replica_that_lags_or_goes_back_in_time(world: World, standby: tuple[PostgreSQL, PostgreSQL]) -> None:
    """Read from the primary, then from a standby that has not all of it yet: rows that are not there are no deletes."""
    primary, replica = standby
    run(primary.url(), "CREATE TABLE things (id int PRIMARY KEY, v int)",
        "INSERT INTO things SELECT g, g FROM generate_series(1, 100) AS g")  # fmt: skip
    replayed(primary, replica)
    run(replica.url(), "SELECT pg_wal_replay_pause()")
    run(primary.url(), "INSERT INTO things SELECT g, g FROM generate_series(101, 200) AS g",
        "UPDATE things SET v = -1 WHERE id = 1")  # fmt: skip

    def reads(server: PostgreSQL) -> None:
        for scan in ("full", "checksum"):
            world.source(scan, iterator="sql", options={"url": server.url(), "table": "things"}, scan=scan)

    reads(primary)
    assert [result.inserts for result in world.project.scan_all()] == [200, 200]
    reads(replica)
    for lagging in (*world.project.scan_all(), *world.project.scan_all()):
        assert (lagging.status, lagging.exit_code) == ("held", 4), lagging
        assert "went back in time" in (lagging.reason or "")
        assert world.project.catalog.stream().head_scn == 400
    run(replica.url(), "SELECT pg_wal_replay_resume()")
    replayed(primary, replica)
    assert [result.status for result in world.project.scan_all()] == ["unchanged"] * 2
    assert [source["held"] for source in world.project.status()["sources"]] == [None] * 2
    run(primary.url(), "DELETE FROM things WHERE id = 7")
    replayed(primary, replica)
    assert [result.deletes for result in world.project.scan_all()] == [1, 1]
    for source in ("full", "checksum"):
        world.verify(source)


def replayed(primary: PostgreSQL, replica: PostgreSQL) -> None:
    """Wait until the standby has all that the primary has now."""
    with psycopg.connect(primary._dsn("postgres"), autocommit=True) as connection:
        (lsn,) = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone() or ("",)
    with psycopg.connect(replica._dsn("postgres"), autocommit=True) as connection:
        while connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,)).fetchone() != (True,):
            threading.Event().wait(0.05)
