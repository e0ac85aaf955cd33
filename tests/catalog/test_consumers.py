"""The consumers' database: what is told is durable and comes back, however many tell it; damage is never used."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, update

from differ.catalog import consumer_tables as tables
from differ.catalog.consumers import Consumers, check_consumer_name, consumers_url
from differ.catalog.groups import Groups
from differ.catalog.pins import Pins
from differ.errors import BusyError, CorruptionError, FencedError, StorageError, UsageError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from tests.catalog.checkpointing import at

ROOT = Path(__file__).parents[2]
BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.service)]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the database lies, beside a catalog of either kind."""
    catalog = "sqlite:///catalog.db"
    if request.param == "postgresql":
        catalog = request.getfixturevalue("postgresql_url")
    return consumers_url(catalog, tmp_path)


@pytest.fixture
def consumers(url: str) -> Iterator[Consumers]:
    consumers = Consumers(url)
    yield consumers
    consumers.close()


def reopened(url: str) -> Consumers:
    """As another process sees it."""
    return Consumers(url)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "consumers.db"


@pytest.fixture
def lone(path: Path) -> Iterator[Consumers]:
    """One in a file."""
    consumers = Consumers(f"sqlite:///{path}")
    yield consumers
    consumers.close()


BOOTSTRAPPING = BootstrapCheckpoint(
    bootstrap="b", generation="g", cursor=at(7).cursor, source="orders", page="p", done=("others",)
)


# -- what is told comes back ------------------------------------------------------------------------------------------


def test_reading_finds_nothing_and_makes_nothing(consumers: Consumers, tmp_path: Path) -> None:
    assert not consumers.exists()
    assert (consumers.all(), consumers.get("a"), Pins(consumers).all()) == ([], None, [])
    assert not consumers.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("checkpoint", [at(3), BOOTSTRAPPING, None])
def test_a_consumer_comes_back_as_it_was_told(url: str, consumers: Consumers, checkpoint: Checkpoint | None) -> None:
    told = consumers.put("a", checkpoint=checkpoint, sources=["orders", "customers"], client="c/1")
    found = reopened(url).get("a")
    assert found == told
    assert found is not None
    assert (found.checkpoint, found.sources, found.client) == (checkpoint, ("customers", "orders"), "c/1")
    state = {StreamCheckpoint: "streaming", BootstrapCheckpoint: "bootstrapping", type(None): "new"}[type(checkpoint)]
    assert (found.state, found.scn) == (state, checkpoint.cursor.scn if checkpoint else None)


def test_what_is_not_told_stays(consumers: Consumers) -> None:
    first = consumers.put("a", checkpoint=at(3), sources=["orders"], client="c")
    second = consumers.put("a", checkpoint=at(4))
    assert (second.sources, second.client, second.created_at) == (("orders",), "c", first.created_at)
    assert second.updated_at > first.updated_at
    third = consumers.put("a", sources=[])
    assert (third.sources, third.checkpoint) == ((), at(4))
    assert consumers.get("a") == third


def test_a_reset_one_is_new_and_a_removed_one_is_gone(consumers: Consumers) -> None:
    consumers.put("a", checkpoint=at(3), sources=["orders"])
    consumers.put("b", checkpoint=at(3))
    assert consumers.reset("a")
    found = consumers.get("a")
    assert found is not None
    assert (found.state, found.scn, found.sources) == ("new", None, ("orders",))
    assert consumers.remove("a")
    assert [entry.name for entry in consumers.all()] == ["b"]
    assert (consumers.remove("a"), consumers.reset("a")) == (False, False)


def test_a_group_is_one_of_them(consumers: Consumers) -> None:
    consumers.put("a", checkpoint=at(1))
    groups = Groups(consumers)
    share = groups.join("g", member="m", sources=["orders"])
    groups.save("g", "m", {0: share.partitions[0], 1: share.partitions[1]}, {0: at(9), 1: at(5)})
    found = consumers.get("g")
    assert found is not None
    assert (found.scn, found.state, found.sources, len(found.partitions)) == (5, "streaming", ("orders",), 256)
    assert consumers.all() == [consumers.get("a"), found]
    with pytest.raises(UsageError, match="is a consumer group"):
        consumers.put("g", checkpoint=at(9))
    with consumers.writing() as connection:
        assert [entry.name for entry in consumers.laggards(connection, 6)] == ["a", "g"]
        assert [entry.name for entry in consumers.laggards(connection, 5)] == ["a"]
        assert consumers.laggards(connection, 1) == []
    assert consumers.reset("g")
    assert (consumers.get("g") or found).state == "new"
    with pytest.raises(FencedError):
        groups.save("g", "m", {0: share.partitions[0]}, {0: at(10)})
    assert consumers.remove("g")
    assert [entry.name for entry in consumers.all()] == ["a"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=200))
def test_any_printable_name_is_possible(name: str) -> None:
    assert check_consumer_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\x00", "a\x7f", "\ud800", "a\u2028b"])
def test_other_names_are_refused(consumers: Consumers, name: str) -> None:
    with pytest.raises(UsageError, match="no such name"):
        consumers.put(name, checkpoint=at(1))
    assert not consumers.exists()


# -- many at once -----------------------------------------------------------------------------------------------------


def commits(path: Path) -> int:
    """How many transactions changed an SQLite file: the counter in its header."""
    return int.from_bytes(path.read_bytes()[24:28], "big")


def test_many_that_wait_share_a_transaction(lone: Consumers, path: Path) -> None:
    lone.put("first")
    before = commits(path)
    with lone.writing():
        waiting = [lone.put_soon(f"c{number}", checkpoint=at(number)) for number in range(500)]
    assert [future.result().scn for future in waiting] == list(range(500))
    assert commits(path) - before <= 2  # The first may have been taken alone.
    assert len(lone.all()) == 501


def test_a_refused_write_does_not_touch_the_others(consumers: Consumers) -> None:
    def refused(connection: Connection) -> None:
        connection.execute(insert(tables.members).values(
            group_name="g", id="m", seniority=1, lease_until=0.0, lease_seconds=1.0
        ))  # fmt: skip
        raise FencedError("no")

    def broken(connection: Connection) -> None:
        raise ZeroDivisionError

    futures: list[Future[Any]] = []
    with consumers.writing():
        futures += [consumers.put_soon("a", checkpoint=at(1)), consumers.submit(refused), consumers.submit(broken)]
        futures.append(consumers.put_soon("b", checkpoint=at(2)))
    assert futures[0].result().name == "a"
    assert isinstance(futures[1].exception(), FencedError)
    assert isinstance(futures[2].exception(), ZeroDivisionError)
    assert futures[3].result().name == "b"
    assert [entry.name for entry in consumers.all()] == ["a", "b"]
    with consumers.reading() as connection:
        assert connection.execute(tables.members.select()).all() == []


def test_a_write_that_is_given_up_before_its_turn_is_not_done(consumers: Consumers) -> None:
    consumers.put("first")
    with consumers.writing():
        running = consumers.put_soon("a", checkpoint=at(1))  # may be taken by now, and waits for its turn
        others = [consumers.put_soon(f"b{number}") for number in range(3)]
        cancelled = [future.cancel() for future in others]
    running.result()
    consumers.put("last")
    done = {entry.name for entry in consumers.all()}
    assert done == {"first", "a", "last"} | {f"b{number}" for number, gone in enumerate(cancelled) if not gone}


def test_threads_and_processes_write_beside_each_other(url: str, consumers: Consumers) -> None:
    consumers.put("first")

    def many(name: str) -> None:
        other = reopened(url)
        for scn in range(1, 21):
            other.put(name, checkpoint=at(scn))
        other.close()

    threads = [threading.Thread(target=many, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {entry.name: entry.scn for entry in consumers.all() if entry.name != "first"} == {
        f"t{number}": 20 for number in range(8)
    }


def test_what_was_told_survives_a_kill(url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.catalog.checkpointing", url, "a"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        heard = [int(child.stdout.readline()) for _ in range(20)]
        os.kill(child.pid, signal.SIGKILL)
        heard += [int(line) for line in child.stdout.read().splitlines()]
    found = reopened(url).get("a")
    assert found is not None
    assert found.scn in (heard[-1], heard[-1] + 1)


def test_after_closing_nothing_is_taken(consumers: Consumers) -> None:
    consumers.put("a")
    consumers.close()
    with pytest.raises(UsageError, match="closed"):
        consumers.put("b")


# -- exclusion --------------------------------------------------------------------------------------------------------


def test_a_failed_transaction_leaves_nothing_and_no_lock(consumers: Consumers) -> None:
    with pytest.raises(StorageError, match="mine"), consumers.writing():
        raise StorageError("mine")
    assert consumers.put("a").name == "a"


def test_another_process_waits_for_the_writer(url: str, consumers: Consumers) -> None:
    consumers.put("first")
    other = reopened(url)
    with consumers.writing():
        future = other.put_soon("a", checkpoint=at(1))
        with pytest.raises(TimeoutError):
            future.result(0.3)
    assert future.result(30).scn == 1
    other.close()


def test_a_lock_that_is_never_let_go_is_told(lone: Consumers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("differ.catalog.consumers.BUSY_SECONDS", 0.05)
    with lone.writing(), pytest.raises(BusyError, match="another thread holds it"):
        lone.put("a")


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [("scn", 4), ("client", "d"), ("updated_at", "2020-01-01T00:00:00.000000Z"), ("row_hash", "0" * 32)],
)
def test_a_changed_column_is_never_used(lone: Consumers, path: Path, column: str, value: object) -> None:
    lone.put("a", checkpoint=at(3), client="c")
    with sqlite3.connect(path) as raw:
        raw.execute(f"UPDATE consumers SET {column} = ?", (value,))
    for read in (lambda: lone.get("a"), lone.all):
        with pytest.raises(CorruptionError, match="'a' is not what was written"):
            read()
    with pytest.raises(CorruptionError), lone.writing() as connection:
        lone.laggards(connection, 100)


@given(st.data())
def test_a_flipped_bit_in_a_sealed_text_is_never_used(data: st.DataObject) -> None:
    text = data.draw(st.text(st.characters(exclude_categories=["Cs"])))
    sealed = tables.Sealed()
    stored = sealed.process_bind_param(text, None)  # type: ignore[arg-type]
    assert stored is not None
    assert sealed.process_result_value(stored, None) == text  # type: ignore[arg-type]
    body = bytearray(stored.encode())
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptionError):
        sealed.process_result_value(body.decode(errors="surrogateescape"), None)  # type: ignore[arg-type]


def test_a_newer_format_is_refused(lone: Consumers, path: Path) -> None:
    lone.put("a")
    with lone.writing() as connection:
        connection.execute(update(tables.store).values(format=2))
    with pytest.raises(StorageError, match="its format is 2"):
        Consumers(f"sqlite:///{path}").all()


def test_a_file_that_was_put_away_is_not_written_any_more(lone: Consumers, path: Path) -> None:
    lone.put("a")
    path.rename(path.with_suffix(".old"))
    assert lone.all() == []
    lone.put("b")
    assert [entry.name for entry in Consumers(f"sqlite:///{path}").all()] == ["b"]


def test_the_disk_page_names_every_table_and_column() -> None:
    text = (ROOT / "docs/formats/disk.md").read_text(encoding="utf-8")
    for table in tables.metadata.sorted_tables:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{table.name}` |")]
        for column in table.columns:
            assert f"`{column.name}`" in row, f"{table.name}.{column.name}"


def test_a_full_disk_is_the_cause_that_is_told(lone: Consumers) -> None:
    """SQLite ends the transaction by itself then, and with it the savepoint that each write has."""
    lone.put("before")

    def too_much(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # As many as there are.
        connection.exec_driver_sql("CREATE TABLE big (body)")
        for _ in range(100):
            connection.exec_driver_sql("INSERT INTO big VALUES (zeroblob(10000))")

    with pytest.raises(StorageError, match="disk is full"):
        lone.submit(too_much).result()
    assert [entry.name for entry in lone.all()] == ["before"]
