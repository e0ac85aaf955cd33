"""Consistency groups: one read, one window, all or nothing."""

import sqlite3

from differ.storage import seam
from tests.cycle.world import OPEN, World

SHOP = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER NOT NULL);
CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL);
INSERT INTO orders VALUES (1, 10), (2, 20);
INSERT INTO items VALUES (1, 1), (2, 1), (3, 2);
"""


def shop(world: World) -> None:
    world.sql(SHOP)
    world.table("orders")
    world.table("items")
    world.settings["consistency_groups"] = {"shop": {"sources": ["orders", "items"]}}


def test_a_group_is_one_window(world: World) -> None:
    shop(world)
    orders, items = world.project.scan_group("shop")
    assert (orders.scn_first, orders.scn_last, items.scn_first, items.scn_last) == (1, 2, 3, 5)
    assert {(event.window.first, event.window.last) for event in world.project.events()} == {(1, 5)}
    assert len(world.project.catalog.windows()) == 1
    world.verify("orders")
    world.verify("items")


def test_an_scn_inside_the_window_of_a_group_rounds_down_for_all_of_it(world: World) -> None:
    shop(world)
    world.project.scan_group("shop")
    world.sql("UPDATE orders SET total = 11 WHERE id = 1; DELETE FROM items WHERE id = 3")
    world.project.scan_group("shop")
    assert world.project.catalog.stream().head_scn == 7
    for scn in (5, 6):
        assert world.state("orders", scn)[1,]["total"] == 10
        assert len(world.state("items", scn)) == 3
        assert world.project.snapshot("orders", scn).scn == world.project.snapshot("items", scn).scn == 5
    assert world.state("orders", 7)[1,]["total"] == 11
    assert len(world.state("items", 7)) == 2


def test_scanning_one_source_scans_its_group(world: World) -> None:
    shop(world)
    assert world.scan("items").inserts == 3
    assert world.project.snapshot("orders").rows == 2


def test_a_writer_between_the_two_reads_is_not_seen(world: World) -> None:
    shop(world)
    world.sql("PRAGMA journal_mode=WAL")
    written: list[bool] = []

    def write(point: str) -> None:
        if point == "cycle.scanned" and not written:
            written.append(True)
            connection = sqlite3.connect(world.shop)
            connection.executescript("INSERT INTO orders VALUES (3, 30); INSERT INTO items VALUES (4, 3)")
            connection.close()

    stop = seam.listen(write)
    try:
        orders, items = world.project.scan_group("shop")
    finally:
        stop()
    assert written
    assert (orders.rows, items.rows) == (2, 3)
    orders, items = world.project.scan_group("shop")
    assert (orders.inserts, items.inserts) == (1, 1)


def test_a_failure_of_one_commits_nothing_of_the_other(world: World) -> None:
    shop(world)
    world.project.scan_group("shop")
    world.sql("DROP TABLE items; UPDATE orders SET total = 99")
    results = world.project.scan_group("shop")
    assert [result.status for result in results] == ["failed", "failed"]
    assert "items" in (results[0].error or "")
    assert world.state("orders")[1,]["total"] == 10
    world.verify("orders")
    world.sql("CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL); INSERT INTO items VALUES (1, 1)")
    orders, items = world.project.scan_group("shop")
    assert (orders.updates, items.deletes) == (2, 2)
    world.verify("items")


def test_a_hold_of_one_holds_both_and_approval_commits_both(world: World) -> None:
    shop(world)
    world.source("items", guards={"rows": {"min": 1}})
    world.project.scan_group("shop")
    world.sql("DELETE FROM items; UPDATE orders SET total = 11 WHERE id = 1")
    held = world.project.scan_group("shop")
    assert [result.status for result in held] == ["held", "held"]
    assert held[0].hash == held[1].hash
    assert world.project.catalog.stream().head_scn == 5
    approved = world.project.approve("orders", cycle=held[0].cycle, hash=held[0].hash)
    assert {(result.source, result.updates, result.deletes) for result in approved} == {
        ("orders", 1, 0),
        ("items", 0, 3),
    }
    assert {(event.window.first, event.window.last) for event in world.project.events(since=5)} == {(6, 9)}
    assert world.state("items") == {}
    world.verify("orders")
    world.verify("items")


def test_rejecting_one_rejects_both(world: World) -> None:
    shop(world)
    world.source("items", guards={"rows": {"min": 1}})
    world.project.scan_group("shop")
    world.sql("DELETE FROM items; UPDATE orders SET total = 11 WHERE id = 1")
    world.project.scan_group("shop")
    assert {result.source for result in world.project.reject("items")} == {"orders", "items"}
    assert all(source["held"] is None for source in world.project.status()["sources"])
    world.sql("INSERT INTO items VALUES (1, 1)")
    orders, items = world.project.scan_group("shop")
    assert (orders.updates, items.deletes, items.status) == (1, 2, "committed")


def test_sources_of_different_stores_are_refused(world: World) -> None:
    shop(world)
    other = world.folder / "other.db"
    sqlite3.connect(other).executescript("CREATE TABLE items (id INTEGER PRIMARY KEY)")
    world.source("items", options={"url": f"sqlite:///{other}", "table": "items"}, guards=OPEN)
    for result in world.project.scan_group("shop"):
        assert (result.status, result.exit_code) == ("failed", 2)
        assert "one store" in (result.error or "")
    assert world.project.catalog.stream().head_scn == 0


def test_a_plugin_that_cannot_share_a_read_is_refused_in_a_group(world: World) -> None:
    world.fed("a")
    world.fed("b")
    world.settings["consistency_groups"] = {"both": {"sources": ["a", "b"]}}
    assert [result.exit_code for result in world.project.scan_group("both")] == [2, 2]
