"""`scan: checksum`: which ranges are read, when all are, and what becomes of the sums."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from differ.diff.ranges import KeyedState
from differ.iterators.ranges import RangeSums
from differ.model import CycleResult
from differ.storage import seam
from tests.cycle.checksums import CHECKSUM, Shop, open_shop
from tests.faults.crashing import Crasher

MEDDLING = """
import sqlalchemy as sa
from differ.iterators import iterator
from differ.iterators.sql import sql

@iterator(name="meddling", consistent=True)
class Meddling(sql):
    def sums(self, like):
        found = super().sums(like)
        engine = sa.create_engine(self._options.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("{statement}"))
        engine.dispose()
        return found
"""


@pytest.fixture(params=["postgresql_url", "mariadb_url"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """100 rows of the keys 1 to 100, scanned once."""
    with open_shop(str(request.getfixturevalue(request.param))) as shop:
        shop.fill(100)
        shop.agree()
        yield shop


@pytest.fixture
def postgresql_shop(postgresql_url: str) -> Iterator[Shop]:
    """The same on PostgreSQL alone, for what does not depend on the server."""
    with open_shop(postgresql_url) as shop:
        shop.fill(100)
        shop.agree()
        yield shop


def scan(shop: Shop, **options: Any) -> CycleResult:
    return shop.world.scan("sums", **options)


def kept(shop: Shop) -> list[Path]:
    return sorted((shop.world.folder / ".differ" / "sums" / "sums").iterdir())


def test_only_ranges_that_moved_are_read(shop: Shop) -> None:
    shop.run("UPDATE t SET s = 'b' WHERE k IN (9, 10)")
    shop.run("DELETE FROM t WHERE k = 50")
    shop.run("INSERT INTO t (k, k2) VALUES (1000, 1)")
    result = scan(shop)
    assert (result.inserts, result.updates, result.deletes, result.rows) == (1, 2, 1, 100)
    # Four keys a range: 0..3, 4..7, ...; the one of 9 and 10, the one of 50, and that of the new key.
    assert (result.ranges, result.ranges_read, result.full_reason) == (27, 3, None)
    again = scan(shop)
    assert (again.status, again.rows, again.ranges_read) == ("unchanged", 100, 0)


def test_many_scattered_ranges_are_read_in_one_pass(shop: Shop) -> None:
    shop.run("INSERT INTO t (k, k2) SELECT k * 1000, 2 FROM t")
    shop.run("INSERT INTO t (k, k2) SELECT k * 7000, 3 FROM t WHERE k2 = 1")
    shop.agree()
    shop.run("UPDATE t SET s = 'b' WHERE k2 > 1")
    shop.agree()
    assert shop.partial == 2


def test_a_range_that_empties_and_fills_again(shop: Shop) -> None:
    for statement in ("DELETE FROM t WHERE k BETWEEN 8 AND 11", "INSERT INTO t (k, k2) VALUES (8, 7)", "DELETE FROM t"):
        shop.run(statement)
        shop.agree()
    assert shop.partial == 3
    shop.fill(3)
    shop.agree()
    assert shop.partial == 4


def test_the_first_cycle_and_one_of_every_few_read_all(postgresql_shop: Shop) -> None:
    postgresql_shop.world.source("sums", checksum={**CHECKSUM, "full_every": 3})
    reasons = [scan(postgresql_shop).full_reason for _ in range(6)]
    every = "every 3 cycles all rows are read (checksum.full_every)"
    assert reasons == [None, None, every, None, None, every]


def test_too_much_that_moved_reads_all_and_keeps_the_sums(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    shop.world.source("sums", checksum={**CHECKSUM, "moved_max": "10%"})
    shop.run("UPDATE t SET s = 'b' WHERE k > 80")
    result = scan(shop)
    # Ranges are of four keys: 80 is in the range of 81.
    assert result.full_reason == "21 rows lie in ranges that moved, past 10% (checksum.moved_max)"
    assert result.updates == 20
    assert scan(shop).ranges_read == 0


def test_an_unchanged_cycle_writes_no_sums_and_leaves_what_is_there(postgresql_shop: Shop) -> None:
    before = kept(postgresql_shop)
    for _ in range(3):
        assert scan(postgresql_shop).status == "unchanged"
    assert kept(postgresql_shop) == before
    assert postgresql_shop.world.project.gc() == 0
    assert kept(postgresql_shop) == before
    postgresql_shop.run("DELETE FROM t WHERE k = 1")
    scan(postgresql_shop)
    assert len(kept(postgresql_shop)) == 1
    assert kept(postgresql_shop) != before


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damaged_sums_are_noticed_and_made_anew(postgresql_shop: Shop, harm: str) -> None:
    (path,) = kept(postgresql_shop)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(body if harm == "flip" else body[: len(body) // 2])
    postgresql_shop.run("UPDATE t SET s = 'b' WHERE k = 9")
    result = scan(postgresql_shop)
    assert (result.status, result.updates) == ("committed", 1)
    assert result.full_reason == "the kept checksums are damaged"
    assert scan(postgresql_shop).ranges_read == 0


def test_sums_that_do_not_count_the_rows_of_the_state_are_refused(postgresql_shop: Shop) -> None:
    state = KeyedState(postgresql_shop.world.project.snapshot("sums"))
    ids = np.arange(26, dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)

    def sums(counts: list[int]) -> RangeSums:
        return RangeSums(basis="", shift=2, ids=ids, counts=np.array(counts), sums=ids.astype(np.uint64))

    right = [3, *[4] * 24, 1]
    mask = state.unread(sums(right), np.array([2, 25]))
    assert mask is not None
    assert int(mask.sum()) == 95
    assert state.unread(sums([2, *right[1:]]), none) is None
    whole = state.unread(sums(right), none)
    assert whole is not None
    assert whole.all()


def test_a_held_cycle_has_its_own_sums(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    shop.world.source("sums", guards={"deletes": "20%"})
    shop.run("DELETE FROM t WHERE k > 60")
    held = scan(shop)
    assert (held.status, held.deletes, held.full_reason) == ("held", 40, None)
    assert len(kept(shop)) == 2
    again = scan(shop)
    assert (again.status, again.hash) == ("held", held.hash)
    shop.world.project.approve("sums", cycle=again.cycle, hash=again.hash)
    assert len(kept(shop)) == 1
    after = scan(shop)
    assert (after.status, after.rows, after.ranges_read) == ("unchanged", 60, 0)


def test_after_a_reject_the_sums_are_those_of_the_state(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    shop.world.source("sums", guards={"deletes": "20%"})
    shop.run("DELETE FROM t WHERE k > 60")
    held = scan(shop)
    shop.world.project.reject("sums", cycle=held.cycle, hash=held.hash)
    shop.fill(100, first=61)
    result = scan(shop)
    assert (result.status, result.rows, result.ranges_read) == ("unchanged", 100, 0)


def test_a_dry_run_leaves_nothing(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    before = shop.world.files()
    shop.run("UPDATE t SET s = 'b' WHERE k = 9")
    result = scan(shop, dry_run=True)
    assert (result.status, result.updates, result.ranges_read) == ("dry-run", 1, 1)
    assert shop.world.files() == before
    assert scan(shop).updates == 1


def test_compaction_keeps_the_sums_and_a_new_base_makes_them_anew(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    shop.run("UPDATE t SET s = 'b' WHERE k = 9")
    scan(shop)
    shop.world.project.compact("sums")
    shop.run("UPDATE t SET s = 'c' WHERE k = 9")
    result = scan(shop)
    assert (result.updates, result.ranges_read) == (1, 1)
    assert shop.world.project.rebaseline("sums").full_reason == "a new base is made of all rows"
    assert scan(shop).ranges_read == 0


RULES = "the rules of the source's columns, the width of ranges or the encoder changed"
READ = "what is read of the table, its types or the server's version are not what they were"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"columns": {"ignore": ["s"]}}, RULES),
        ({"columns": {"tolerance": {"n": 1}}}, RULES),
        ({"columns": {"exclude": ["s"]}}, RULES),
        ({"columns": {"mask": {"s": "null"}}}, RULES),
        ({"checksum": {**CHECKSUM, "range_rows": 16}}, RULES),
        ({"columns_read": ["k", "k2", "n"]}, "the schema changed"),
        ({"key": ["k2", "k"]}, "the schema changed"),
        ({"where": "k < 90"}, READ),
    ],
    ids=["ignore", "tolerance", "exclude", "mask", "width", "columns", "key", "where"],
)
def test_other_settings_read_all_once(postgresql_shop: Shop, settings: dict[str, Any], reason: str) -> None:
    shop = postgresql_shop
    options = dict(shop.world.settings["sources"]["sums"]["options"])
    for name, value in settings.items():
        if name in ("where", "columns_read"):
            shop.world.source("sums", options={**options, name.removesuffix("_read"): value})
        else:
            shop.world.source("sums", **{name: value})
    assert scan(shop).full_reason == reason
    assert scan(shop).ranges_read == 0


def test_another_schema_reads_all_once(shop: Shop) -> None:
    shop.run("ALTER TABLE t ADD COLUMN w integer DEFAULT 7")
    shop.agree()
    shop.run("UPDATE t SET w = 8 WHERE k = 3")
    shop.agree()
    assert shop.partial == 1


def test_tolerated_and_ignored_columns_keep_what_was_emitted(shop: Shop) -> None:
    for name in ("full", "sums"):
        shop.world.source(name, columns={"tolerance": {"n": 5}, "ignore": ["s"]})
    shop.agree()
    for statement in (
        "UPDATE t SET n = n + 3, s = 'x' WHERE k < 20",
        "UPDATE t SET n = n + 3, s = 'y' WHERE k < 10",
        "UPDATE t SET i = 5, s = 'z' WHERE k = 2",
    ):
        shop.run(statement)
        shop.agree()
    assert shop.partial == 3


def test_a_group_reads_ranges_of_one_snapshot(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    shop.world.settings["consistency_groups"] = {"g": {"sources": ["full", "sums"]}}
    shop.world.close()
    shop.run("UPDATE t SET s = 'b' WHERE k = 9")
    full, sums = shop.world.project.scan_group("g")
    assert (full.updates, sums.updates, sums.ranges_read) == (1, 1, 1)


def test_sums_and_rows_come_from_one_snapshot(shop: Shop) -> None:
    world = shop.world
    statement = "UPDATE t SET i = coalesce(i, 0) + 1 WHERE k IN (9, 70)"
    world.plugin("meddling", MEDDLING.format(statement=statement))
    world.source("sums", iterator="meddling")
    assert scan(shop).status == "unchanged"  # What was changed in the middle is not seen,
    shop.run("UPDATE t SET s = 'b' WHERE k = 10")
    result = scan(shop)
    assert (result.updates, result.ranges_read) == (3, 2)  # but the next time: 9 and 70 as they were before this scan.
    assert world.state("sums")[(9, 1)]["i"] == 10
    world.source("sums", iterator="sql")
    world.commit("full")
    world.commit("sums")
    assert world.state("sums") == world.state("full")


def test_writers_at_work(shop: Shop) -> None:
    stop = threading.Event()
    number = 0

    def write() -> None:
        nonlocal number
        while not stop.is_set():
            number += 1
            key = number * 7 % 100 + 1
            shop.run("UPDATE t SET i = :n WHERE k = :k", n=number, k=key)
            shop.run("DELETE FROM t WHERE k = :k", k=key + 3)
            shop.run("INSERT INTO t (k, k2, i) VALUES (:k, :n, 1)", k=key + 60, n=number + 1000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        partial = [scan(shop).ranges_read is not None for _ in range(12)]
    finally:
        stop.set()
        writer.join()
    assert all(partial)
    assert number > 12
    shop.world.commit("full")
    shop.world.commit("sums")
    assert shop.world.state("sums") == shop.world.state("full") == shop.world.fold("sums")


@pytest.mark.crash
def test_a_kill_at_any_point_of_writing_leaves_sums_that_are_true(postgresql_url: str) -> None:
    with open_shop(postgresql_url) as shop, Crasher() as crasher:
        shop.fill(60)
        shop.world.drop("full", "scan")
        shop.world.settings["sources"]["orders"] = shop.world.settings["sources"].pop("sums")
        shop.world.commit("orders")
        shop.run("UPDATE t SET s = 'b' WHERE k = 9")
        shop.run("DELETE FROM t WHERE k = 50")
        shop.world.close()
        whole = shop.world.folder.with_name(f"{shop.world.folder.name}-whole")
        shutil.copytree(shop.world.folder, whole)
        points = crasher.run(shop.world.folder, None, "scan orders")["points"]
        assert "cycle.staged" in points
        try:
            steps = [number for number, point in enumerate(points) if point != "file.write"]
            for number in steps[::3]:
                shutil.rmtree(shop.world.folder)
                shutil.copytree(whole, shop.world.folder)
                assert crasher.run(shop.world.folder, None, "scan orders", kill_at=number)["killed"], points[number]
                result = shop.world.commit("orders")
                assert (result.rows, result.full_reason) == (59, None), points[number]
                assert {(op, key[0]) for op, key in shop.world.ops("orders", since=60)} == {
                    ("update", 9),
                    ("delete", 50),
                }
                assert len(list((shop.world.folder / ".differ" / "sums" / "orders").iterdir())) == 1
                shop.world.close()
        finally:
            shutil.rmtree(whole)


def test_a_failure_after_the_sums_leaves_the_old_ones(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    shop.run("UPDATE t SET s = 'b' WHERE k = 9")
    before = kept(shop)

    def fail(point: str) -> None:
        if point == "cycle.staged":
            raise OSError("the disk went away")

    end = seam.listen(fail)
    try:
        assert scan(shop).status == "failed"
    finally:
        end()
    assert kept(shop) == before
    assert (result := scan(shop)).updates == 1
    assert result.ranges_read == 1
