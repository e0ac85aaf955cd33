"""`differ status` shows who follows, and warns of whom the disk fills up for."""

import pytest

import differ
from differ.formats.checkpoint import StreamCheckpoint
from tests.cli.shop import Shop, table
from tests.relay.timeline import cursor


@pytest.fixture
def followed(shop: Shop) -> Shop:
    """Two consumers, one of which stays at the beginning; next to nothing is kept by size."""
    configure(shop, "1GiB")
    with differ.open(shop.folder) as project:
        for name in ("gone away", "lively"):
            checkpoint = StreamCheckpoint(cursor=cursor(project.catalog, 0))
            project.consumers.put(name, checkpoint=checkpoint, sources=["orders"])
    shop.ok("scan", "--all")
    shop.sql("UPDATE orders SET status = 'shipped' WHERE id = 2")
    shop.ok("scan", "--all")
    with differ.open(shop.folder) as project:
        project.consumers.put("lively", checkpoint=StreamCheckpoint(cursor=cursor(project.catalog, 6)))
    return shop


def configure(shop: Shop, hold: str) -> None:
    retention = {"size": 1, "hold_for_consumers": hold}
    shop.configure({"orders": table("orders")}, relay={"retention": retention})


def test_who_follows_and_how_far_behind(followed: Shop) -> None:
    body = followed.ok("status", "--json").document
    assert [(entry["name"], entry["behind"]["events"]) for entry in body["consumers"]] == [
        ("gone away", 6),
        ("lively", 0),
    ]
    assert (body["oldest_scn"], body["consumers_error"]) == (1, None)


def test_what_is_kept_for_a_consumer_that_does_not_come(followed: Shop) -> None:
    held = followed.ok("status", "--json").document["consumers"][0]["holds"]
    text = followed.ok("status").out
    assert f"gone away: {held['bytes']:,} bytes of events past relay.retention are kept for it" in text
    assert "differ consumers remove 'gone away'" in text
    assert "lively:" not in text


def test_who_is_about_to_be_let_down_is_named(followed: Shop) -> None:
    configure(followed, "0")
    assert "more than hold_for_consumers: they go, and it will have to bootstrap" in followed.ok("status").out
    followed.sql("UPDATE orders SET status = 'lost' WHERE id = 2")
    followed.ok("scan", "--all")
    body = followed.ok("status", "--json").document
    assert body["oldest_scn"] == 8
    assert [entry["holds"] for entry in body["consumers"]] == [None, None]
