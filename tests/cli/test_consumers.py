"""`differ consumers`: who follows, how far behind, what is kept for whom; and to reset and remove one."""

from differ.config import load
from differ.formats.checkpoint import BootstrapCheckpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.project import Project
from tests.cli.shop import Shop, table


def register(shop: Shop, name: str, scn: int, *sources: str, bootstrapping: bool = False) -> None:
    """A consumer with a checkpoint at an SCN of the shop's stream."""
    with Project(load(shop.folder)) as project:
        standing = project.catalog.standing(scn)
        cursor = Cursor(stream=standing.stream.stream_id, scn=scn, chain=(standing.chain or "0" * 64)[:32], floors=0)
        checkpoint = (
            BootstrapCheckpoint(bootstrap="b", generation="g", cursor=cursor, source="orders", page=None, done=())
            if bootstrapping
            else StreamCheckpoint(cursor=cursor)
        )
        project.consumers.put(name, checkpoint=checkpoint, sources=sources, client="test:1")


def test_lag_is_of_the_consumers_own_sources(shop: Shop) -> None:
    shop.sql("CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (1)")
    shop.configure({"orders": table("orders"), "items": table("items")})
    shop.ok("scan", "--source", "orders")
    register(shop, "index", 3)
    register(shop, "quiet", 5, "items")
    register(shop, "new", 5, "orders", bootstrapping=True)
    found = {one["name"]: one for one in shop.ok("consumers", "list", "--json").document["consumers"]}
    assert {name: (one["state"], one["scn"], one["behind"]["events"]) for name, one in found.items()} == {
        "index": ("streaming", 3, 2), "quiet": ("streaming", 5, 0), "new": ("bootstrapping", 5, 0),
    }  # fmt: skip
    assert found["index"]["behind"]["seconds"] > 0
    assert found["quiet"]["behind"]["seconds"] == 0
    shop.ok("scan", "--source", "items")
    lags = {one["name"]: one["behind"]["events"] for one in shop.ok("status", "--json").document["consumers"]}
    assert lags == {"index": 3, "quiet": 1, "new": 0}
    for command in (["consumers", "list"], ["status"]):
        row = next(line for line in shop.ok(*command).out.splitlines() if line.startswith("index"))
        assert row.split()[:5] == ["index", "consumer", "streaming", "3", "3"]


def test_show_reset_and_remove(shop: Shop) -> None:
    shop.ok("scan", "--all")
    register(shop, "index", 2, "orders")
    shown = shop.ok("consumers", "show", "index").out
    for text in ("SCN 2", "3 events, the first for", "test:1", "orders", "streaming"):
        assert text in shown
    body = shop.ok("consumers", "show", "index", "--json").document
    assert (body["scn"], body["checkpoint"]["kind"], body["holds"]) == (2, "stream", None)
    assert shop.ok("consumers", "reset", "index", "--json").document == {"consumer": "index", "reset": True}
    body = shop.ok("consumers", "show", "index", "--json").document
    assert (body["state"], body["scn"], body["behind"], body["checkpoint_age_seconds"]) == ("new", None, None, None)
    assert "nowhere yet" in shop.ok("consumers", "show", "index").out
    assert "stop and start it" in shop.ok("consumers", "reset", "index").out
    register(shop, "sink.copy", 2, "orders")
    assert "at once where it runs" in shop.ok("consumers", "reset", "sink.copy").out
    assert shop.ok("consumers", "remove", "sink.copy").code == 0
    assert shop.ok("consumers", "remove", "index").code == 0
    assert shop.ok("consumers", "list", "--json").document == {"consumers": []}
    assert "no consumer is registered" in shop.ok("consumers", "list").err


def test_an_unknown_consumer_is_an_error_with_the_nearest_name(shop: Shop) -> None:
    for verb in ("show", "reset", "remove"):
        assert "there is no consumer 'index'" in shop.run("consumers", verb, "index").err
    shop.ok("scan", "--all")
    register(shop, "index", 2)
    for verb in ("show", "reset", "remove"):
        done = shop.run("consumers", verb, "indx")
        assert (done.code, "did you mean 'index'?" in done.err) == (2, True)


def test_what_is_kept_for_one_is_told_with_the_way_out(shop: Shop) -> None:
    shop.ok("scan", "--all")
    register(shop, "gone one", 2)
    shop.configure({"orders": table("orders")}, relay={"retention": {"age": "0s"}})
    shop.sql("INSERT INTO orders VALUES (6, 'new')")
    shop.ok("scan", "--all")
    for command in (["consumers", "list"], ["consumers", "show", "gone one"], ["status"]):
        assert "differ consumers remove 'gone one'" in shop.ok(*command).out
    shop.configure({"orders": table("orders")}, relay={"retention": {"age": "0s", "hold_for_consumers": "1B"}})
    assert "it will have to bootstrap" in shop.ok("status").out


def test_a_name_cannot_command_the_terminal(shop: Shop) -> None:
    shop.ok("scan", "--all")
    register(shop, "in\N{RIGHT-TO-LEFT OVERRIDE}dex", 2)
    for command in (["consumers", "list"], ["status"]):
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in shop.ok(*command).out
