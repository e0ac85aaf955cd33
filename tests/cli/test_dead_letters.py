"""`differ dead-letters`: what a sink's destination refuses is put aside, shown, and replayed or dropped by a person."""

import sqlite3
import threading
from pathlib import Path

import pytest

from differ.client import Client, Consumer, Retries
from differ.model import ChangeEvent
from tests.cli.shop import Shop, table
from tests.runtime.running import Running, call, running
from tests.servers.ports import free_port


@pytest.fixture
def refusing(shop: Shop) -> Shop:
    """A shop whose destination refuses orders with the status `bad`."""
    with sqlite3.connect(shop.folder / "copy.db") as copy:
        copy.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT CHECK (status <> 'bad'))")
    copy.close()
    shop.configure(
        {"orders": table("orders")},
        relay={"listen": f"127.0.0.1:{free_port()}"},
        sinks={"copy": {"kind": "sql", "sources": ["orders"], "options": {"url": "sqlite:///copy.db"}}},
    )
    shop.ok("scan", "--all")
    return shop


def copied(shop: Shop) -> dict[int, str]:
    copy = sqlite3.connect(shop.folder / "copy.db")
    try:
        return dict(copy.execute("SELECT id, status FROM orders").fetchall())
    finally:
        copy.close()


def caught_up(process: Running, url: str, scn: int) -> None:
    """Wait until the sink's checkpoint on the relay is there."""
    while True:
        assert process.process.poll() is None
        body = call(f"{url}/v1/consumers/sink.copy").json
        if (body.get("state"), body.get("scn")) == ("streaming", scn):
            return


def test_what_is_refused_is_shown_replayed_or_dropped(refusing: Shop) -> None:
    shop = refusing
    with running(shop) as process:
        url = process.serves()
        process.wait_for("module sinks.copy: running")
        caught_up(process, url, 5)
        shop.sql(
            "UPDATE orders SET status = 'bad' WHERE id IN (1, 2)", "UPDATE orders SET status = 'sent' WHERE id = 3"
        )
        shop.ok("scan", "--all")
        caught_up(process, url, 8)
        assert copied(shop) == {1: "paid", 2: "paid", 3: "sent", 4: "paid", 5: "paid"}
        found = shop.ok("dead-letters", "list", "--json").document["dead_letters"]
        for name in ("copy", "sink.copy", "sinks.copy"):  # as scheduler.yaml, consumers and modules call it
            assert shop.ok("dead-letters", "list", name, "--json").document["dead_letters"] == found
        assert "did you mean 'sinks.copy'?" in shop.run("modules", "pause", "copy").err
        assert {(one["sink"], one["number"], one["key"]["id"]) for one in found} == {("copy", 1, 1), ("copy", 2, 2)}
        row = shop.ok("dead-letters", "list", "copy").out.splitlines()[1]
        assert row.startswith("copy")
        assert "id=" in row
        assert 'differ_dead_letters{consumer="copy"} 2.0' in call(f"{url}/metrics").text
        shown = shop.ok("dead-letters", "show", "copy", "1", "--json").document
        assert (shown["event"]["after"]["status"], shown["consumer"]) == ("bad", "copy")

        busy = shop.run("dead-letters", "replay", "copy", "--all")
        assert (busy.code, "differ modules stop sinks.copy" in busy.err) == (6, True)
        shop.ok("modules", "stop", "sinks.copy")
        again = shop.run("dead-letters", "replay", "copy", "1", "--json")
        assert (again.code, list(again.document["failed"])) == (7, ["1"])
        assert copied(shop)[1] == "paid"
        with sqlite3.connect(shop.folder / "copy.db") as copy:
            copy.execute("ALTER TABLE orders RENAME TO old")
            copy.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT)")
            copy.execute("INSERT INTO orders SELECT * FROM old")
        copy.close()
        done = shop.ok("dead-letters", "replay", "copy", "1", "--json").document
        assert (done["replayed"], done["failed"]) == ([1], {})
        assert copied(shop)[1] == "bad"
        assert shop.ok("dead-letters", "drop", "copy", "2", "--json").document == {"sink": "copy", "dropped": [2]}
        assert shop.ok("dead-letters", "list", "--json").document == {"dead_letters": []}
        assert "no events wait" in shop.ok("dead-letters", "list").err
        assert 'differ_dead_letters{consumer="copy"} 0.0' in call(f"{url}/metrics").text

    for command in (["consumers", "list"], ["status"]):
        assert "not in scheduler.yaml" not in shop.ok(*command).out
    shop.configure({"orders": table("orders")})
    for command in (["consumers", "list"], ["status"]):
        row = next(line for line in shop.ok(*command).out.splitlines() if line.startswith("sink.copy"))
        assert "not in scheduler.yaml" in row


class Picky(Consumer):
    """It cannot bear one key."""

    def on_event(self, event: ChangeEvent) -> None:
        if event.key["id"] == 2:
            raise ValueError("not this one")


def test_those_of_a_consumer_of_ones_own_are_named_by_their_file(shop: Shop, tmp_path: Path) -> None:
    letters = tmp_path / "picky.jsonl"
    shop.configure({"orders": table("orders")}, relay={"listen": "127.0.0.1:0"})
    shop.ok("scan", "--all")
    with running(shop, "--only", "relay,bootstrap") as process:
        Client(process.serves()).run(
            Picky(), name="picky", start="oldest", until_head=True, dead_letters=letters,
            retries=Retries(attempts=1), stop=threading.Event(),
        )  # fmt: skip
    (letter,) = shop.ok("dead-letters", "list", str(letters), "--json").document["dead_letters"]
    assert (letter["scn"], letter["error"]) == (2, "ValueError: not this one")
    assert "not this one" in shop.ok("dead-letters", "show", str(letters), "1").out
    which = shop.run("dead-letters", "drop", str(letters))
    assert (which.code, "give their numbers, or --all" in which.err) == (2, True)
    wrong = shop.run("dead-letters", "drop", str(letters), "7")
    assert (wrong.code, "number 7 is not pending" in wrong.err) == (2, True)
    assert "1 dropped" in shop.ok("dead-letters", "drop", str(letters), "--all").out
    assert shop.ok("dead-letters", "list", str(letters), "--json").document == {"dead_letters": []}


def test_places_that_are_not_there(shop: Shop) -> None:
    for verb in (["list"], ["drop", "--all"], ["replay", "--all"]):
        done = shop.run("dead-letters", verb[0], "nowhere", *verb[1:])
        assert (done.code, "unknown sink 'nowhere'" in done.err) == (2, True)
    assert "there is no such file" in shop.run("dead-letters", "list", "nowhere.jsonl").err
