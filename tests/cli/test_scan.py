"""`differ scan`: what it prints, which exit code it ends with, and that nothing else is on stdout."""

import fcntl
import json

import pytest

from tests.cli.shop import Shop, table

HOLD = {"guards": {"rows": {"min": 3}}}


def two(shop: Shop, **more: object) -> None:
    """A second source beside orders."""
    shop.sql("CREATE TABLE items (region TEXT, id INT, qty INT, PRIMARY KEY (region, id))")
    shop.sql("INSERT INTO items VALUES ('eu', 1, 1), ('us', 1, 2)")
    shop.configure({"orders": table("orders"), "items": table("items")}, **more)


def test_a_line_for_people_and_a_line_for_programs(shop: Shop) -> None:
    first = shop.ok("scan", "--source", "orders")
    assert first.err == ""
    assert first.out.startswith("orders  cycle 1  committed  5 rows  +5 ~0 -0  SCN 1..5  ")
    shop.sql("UPDATE orders SET status = 'shipped' WHERE id = 2", "DELETE FROM orders WHERE id = 5")
    second = shop.ok("scan", "--source", "orders", "--json").document
    assert (second["source"], second["cycle"], second["status"]) == ("orders", 2, "committed")
    assert (second["rows"], second["inserts"], second["updates"], second["deletes"]) == (4, 0, 1, 1)
    assert (second["scn_first"], second["scn_last"]) == (6, 7)
    assert {"total", "scan", "compare", "write", "commit"} <= second["seconds"].keys()
    assert shop.ok("scan", "--source", "orders").out.startswith("orders  cycle 3  unchanged  4 rows  +0 ~0 -0")


def test_exactly_one_selector(shop: Shop) -> None:
    for arguments in ([], ["--all", "--source", "orders"], ["--all", "--consistency-group", "g"]):
        done = shop.run("scan", *arguments)
        assert (done.code, done.out) == (2, "")
        assert "hint: the sources are: orders" in done.err
    assert "did you mean 'orders'?" in shop.run("scan", "--source", "ordes").err


def test_fail_if_changed(shop: Shop) -> None:
    assert shop.run("scan", "--all", "--fail-if-changed").code == 1
    assert shop.run("scan", "--all", "--fail-if-changed").code == 0
    shop.sql("DELETE FROM orders WHERE id = 1")
    assert shop.run("scan", "--all", "--fail-if-changed", "--dry-run").code == 1
    assert shop.run("scan", "--all").code == 0


def test_dry_run_shows_and_commits_nothing(shop: Shop) -> None:
    shop.ok("scan", "--all")
    shop.sql("UPDATE orders SET status = 'shipped' WHERE id < 4")
    done = shop.ok("scan", "--all", "--dry-run", "--limit", "2")
    assert "dry-run  5 rows  +0 ~3 -0" in done.out
    assert done.out.count("status: paid -> shipped") == 2
    assert "… and 1 more events" in done.out
    assert shop.ok("status", "--json").document["head_scn"] == 5
    as_json = shop.ok("scan", "--all", "--dry-run", "--json").document
    assert (as_json["status"], as_json["updates"], as_json["scn_first"]) == ("dry-run", 3, None)
    assert shop.ok("scan", "--all", "--json").document["cycle"] == 2


def test_a_dry_run_says_what_would_be_held(shop: Shop) -> None:
    shop.ok("scan", "--all")
    shop.configure({"orders": table("orders", **HOLD)})
    shop.sql("DELETE FROM orders WHERE id > 2")
    done = shop.run("scan", "--all", "--dry-run")
    assert (done.code, "would be held" in done.out) == (0, True)
    assert shop.ok("status", "--json").document["sources"][0]["held"] is None


def test_a_group_is_scanned_as_one_window(shop: Shop) -> None:
    two(shop, consistency_groups={"shop": {"sources": ["orders", "items"]}})
    done = shop.ok("scan", "--source", "orders", "--json")
    assert done.err == "orders is read together with shop: orders, items\n"
    assert [line["source"] for line in done.lines] == ["orders", "items"]
    assert shop.ok("scan", "--source", "orders", "--source", "items").err == ""
    assert len(shop.ok("scan", "--consistency-group", "shop", "--json").lines) == 2
    assert "did you mean 'shop'?" in shop.run("scan", "--consistency-group", "shpo").err
    windows = {event["window"]["last"] for event in shop.ok("events", "--json").lines}
    assert windows == {7}


def test_one_failure_does_not_stop_the_others_and_the_worst_code_wins(shop: Shop) -> None:
    two(shop)
    shop.ok("scan", "--all")
    shop.configure({"orders": table("orders", **HOLD), "items": table("nowhere"), "third": table("orders")})
    shop.sql("DELETE FROM orders WHERE id > 2")
    done = shop.run("scan", "--all", "--json")
    assert [line["status"] for line in done.lines] == ["held", "failed", "committed"]
    assert done.code == 3
    assert "nowhere" in done.lines[1]["error"]
    assert shop.run("scan", "--source", "orders", "--source", "third", "--fail-if-changed").code == 4


def test_all_leaves_paused_sources_out(shop: Shop) -> None:
    two(shop)
    assert shop.ok("pause", "--source", "items").out == "items is paused\n"
    assert [line["source"] for line in shop.ok("scan", "--all", "--json").lines] == ["orders"]
    assert "paused" in shop.ok("status").out
    assert shop.ok("resume", "--source", "items", "--json").document == {"source": "items", "paused": False}
    assert len(shop.ok("scan", "--all", "--json").lines) == 2
    shop.run("pause", "--source", "items")
    named = shop.ok("scan", "--source", "items", "--source", "orders", "--unless-paused", "--json")
    assert [line["source"] for line in named.lines] == ["orders"]
    assert "items: paused" in named.err
    shop.run("pause", "--source", "orders")
    nothing = shop.ok("scan", "--all")
    assert (nothing.out, "nothing to scan" in nothing.err) == ("", True)


def test_another_writer_is_6_and_can_be_waited_for(shop: Shop) -> None:
    shop.ok("scan", "--all")
    shop.sql("DELETE FROM orders WHERE id = 1")
    with (shop.folder / ".differ" / "locks" / "orders.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = shop.run("scan", "--source", "orders", "--json")
        assert (busy.code, busy.document["status"]) == (6, "busy")
        assert "--wait" in busy.document["hint"]
        waiting = shop.start("scan", "--source", "orders", "--wait", "--json")
        assert waiting.poll() is None
    out, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, json.loads(out)["status"]) == (0, "committed")


def test_explain_reads_no_row(shop: Shop) -> None:
    (done,) = shop.ok("scan", "--all", "--explain", "--json").lines
    assert done["key"] == ["id"]
    assert done["schema"] == ["id int64", "status string"]
    assert done["kept"] == "the first cycle writes a base"
    assert "consistent" in done["read"]
    assert done["path"].startswith("rows through SQLAlchemy: ")
    assert shop.ok("status", "--json").document["sources"][0]["status"] == "never"
    shop.ok("scan", "--all")
    small = {"small_base": "0B", "delta_share": "100%"}
    shop.configure({"orders": table("orders", snapshots=small, columns={"ignore": ["status"]})})
    text = shop.ok("scan", "--all", "--explain").out
    assert "a delta when rows changed" in text
    assert "ignore status" in text


def test_explain_tells_why_it_cannot_open(shop: Shop) -> None:
    shop.configure({"orders": table("nowhere"), "good": table("orders")})
    done = shop.run("scan", "--all", "--explain")
    assert done.code == 3
    assert "error: scan orders:" in done.err
    assert done.out.startswith("good\n")


def test_rebaseline_makes_no_events(shop: Shop) -> None:
    shop.ok("scan", "--all")
    shop.configure({"orders": table("orders", key="status")})
    shop.sql("DELETE FROM orders WHERE id > 1")
    done = shop.ok("rebaseline", "--source", "orders", "--json").document
    assert (done["rows"], done["inserts"], done["deletes"]) == (1, 0, 0)
    assert shop.ok("status", "--json").document["head_scn"] == 5


@pytest.mark.parametrize("code", [b"\xff\xfe", "naïve 漢字 \U0001f600".encode()])
def test_odd_bytes_of_a_plugin_do_not_break_the_output(shop: Shop, code: bytes) -> None:
    text = code.decode("utf-8", "surrogateescape")
    shop.plugin(
        "odd",
        f"from differ.iterators import iterator\n@iterator(key='id')\ndef odd(ctx):\n    raise ValueError({text!r})\n",
    )
    shop.configure({"odd": {"iterator": "odd"}})
    done = shop.call("scan", "--all", "--json")
    assert done.code == 3
    assert done.document["status"] == "failed"
