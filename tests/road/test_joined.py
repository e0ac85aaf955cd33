"""An entity joined across two stores, by the plugin of the demo: a change on either side is exactly one event of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from differ.cli.scaffold import project_files
from tests.cycle.world import World
from tests.iterators.sql.scanning import run

ORDERS = 40


@pytest.fixture
def customers(mongodb_url: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb_url, retryWrites=False) as client:
        yield client.get_default_database()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest, world: World, customers: Database[dict[str, Any]], mongodb_url: str) -> str:
    """Orders 0.., two a customer, with two items each; customers are documents."""
    url = f"sqlite:///{world.folder}/shop.db"
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_url")
    orders = ", ".join(f"({n}, {n // 2}, 'paid', {n}.90)" for n in range(ORDERS))
    items = ", ".join(f"({n}, {line}, 'sku-{line}', 1, 9.50)" for n in range(ORDERS) for line in (1, 2))
    run(
        url,
        "CREATE TABLE orders (order_id INT PRIMARY KEY, customer_id INT, status VARCHAR(9), total DECIMAL(10,2))",
        "CREATE TABLE order_items (order_id INT, line INT, sku VARCHAR(9), quantity INT, price DECIMAL(10,2),"
        " PRIMARY KEY (order_id, line))",
        f"INSERT INTO orders VALUES {orders}",
        f"INSERT INTO order_items VALUES {items}",
    )
    customers["customers"].insert_many(
        [{"_id": n, "name": f"Ö{n}", "address": {"city": "Pune", "zip": n}} for n in range(ORDERS // 2)]
    )
    world.plugin("order_view", project_files(demo=True)["iterators/order_view.py"])
    stores = {"iterator": "mongodb", "options": {"url": mongodb_url, "collection": "customers"}}
    world.source("view", iterator="order_view", options={"shop": url, "customers": stores})
    assert world.commit("view").inserts == ORDERS
    return str(url)


def events(world: World, since: int) -> list[tuple[str, int, set[str]]]:
    return [(e.op, e.key["order_id"], set(e.changed)) for e in world.project.events("view", since=since)]


def test_a_change_on_either_side_is_one_event(world: World, shop: str, customers: Database[dict[str, Any]]) -> None:
    head = ORDERS
    assert world.scan("view").status == "unchanged"
    people = customers["customers"]
    steps: list[tuple[Any, list[tuple[str, int, set[str]]]]] = [
        (lambda: run(shop, "UPDATE orders SET status = 'sent' WHERE order_id = 7"), [("update", 7, {"status"})]),
        (lambda: run(shop, "UPDATE order_items SET quantity = 3 WHERE order_id = 8 AND line = 2"),
         [("update", 8, {"items"})]),
        (lambda: people.update_one({"_id": 5}, {"$set": {"address.city": "Köln"}}),
         [("update", 10, {"customer"}), ("update", 11, {"customer"})]),
        (lambda: (run(shop, "UPDATE orders SET total = 1 WHERE order_id = 12"),
                  run(shop, "DELETE FROM order_items WHERE order_id = 12"),
                  people.update_one({"_id": 6}, {"$set": {"vip": True}})),
         [("update", 12, {"total", "items", "customer"}), ("update", 13, {"customer"})]),
        (lambda: people.delete_one({"_id": 0}), [("update", 0, {"customer"}), ("update", 1, {"customer"})]),
        (lambda: people.insert_one({"_id": 99, "name": "nobody's"}), []),
        (lambda: people.replace_one({"_id": 3}, {"address": {"city": "Pune", "zip": 3}, "name": "Ö3"}), []),
        (lambda: run(shop, "DELETE FROM orders WHERE order_id = 20",
                     "INSERT INTO orders VALUES (77, 99, 'new', 5)"), [("delete", 20, set()), ("insert", 77, set())]),
    ]  # fmt: skip
    for change, expected in steps:
        change()
        result = world.scan("view")
        assert result.status == ("committed" if expected else "unchanged"), (expected, result)
        found = events(world, head)
        assert sorted(found, key=str) == sorted(expected, key=str)
        head += len(found)
        assert world.scan("view").status == "unchanged"
    after = [event.after for event in world.project.events("view", key="77")][-1]
    assert after is not None
    assert (after["customer"]["name"], after["items"]) == ("nobody's", {})
    world.verify("view")


def test_when_one_of_the_stores_is_gone_nothing_is_said(
    world: World, shop: str, customers: Database[dict[str, Any]]
) -> None:
    customers.drop_collection("customers")
    run(shop, "UPDATE orders SET status = 'sent'")
    failed = world.scan("view")
    assert (failed.status, failed.exit_code) == ("failed", 3)
    assert "customers" in (failed.error or "")
    assert world.project.catalog.stream().head_scn == ORDERS
    world.verify("view")
