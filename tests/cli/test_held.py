"""approve and reject: bound to what the person saw, by name or by answering."""

import pytest

import differ
from differ.catalog.locks import source_locks
from tests.cli.seen import Seen
from tests.cli.shop import Shop, table


@pytest.fixture
def held(shop: Shop) -> Shop:
    """Cycle 2 of orders is held: three of five rows are gone."""
    shop.configure({"orders": table("orders", guards={"rows": {"min": 3}})})
    shop.ok("scan", "--all")
    shop.sql("DELETE FROM orders WHERE id > 2")
    done = shop.run("scan", "--all")
    assert done.code == 4
    assert "differ approve --source orders --cycle 2 --hash " in done.out
    return shop


def digest(shop: Shop) -> str:
    found = shop.ok("status", "--json").document["sources"][0]["held"]["hash"]
    assert isinstance(found, str)
    return found


def test_the_json_line_of_a_held_cycle(held: Shop) -> None:
    done = held.run("scan", "--all", "--json")
    assert (done.code, done.document["status"], done.document["cycle"]) == (4, "held", 3)
    assert done.document["hash"] == digest(held)
    assert "rows" in done.document["reason"]


def test_approve_by_cycle_and_hash(held: Shop) -> None:
    done = held.ok("approve", "--source", "orders", "--cycle", "2", "--hash", digest(held), "--json").document
    assert (done["status"], done["deletes"], done["scn_first"], done["scn_last"]) == ("committed", 3, 6, 8)
    again = held.run("approve", "--source", "orders", "--yes")
    assert again.code == 2
    assert "nothing is held" in again.err


def test_the_schema_that_changed_is_told_with_what_is_held(shop: Shop) -> None:
    """A column whose type moved is why every row changed."""
    shop.configure({"orders": table("orders", guards={"rows": {"min": 3}})})
    shop.ok("scan", "--all")
    shop.sql("DELETE FROM orders WHERE id > 1", "UPDATE orders SET status = x'00'")
    assert shop.run("scan", "--all").code == 4
    (found,) = shop.ok("status", "--json").document["sources"]
    (change,) = found["held"]["schema_changes"]
    assert change.startswith("column 'status' changed: ")
    assert f"  schema    {change}" in shop.ok("status").out


def test_approve_waits_for_a_scan_that_runs(held: Shop) -> None:
    with differ.open(held.folder) as project:
        with source_locks(project.catalog, project.place.locks, ["orders"]):
            busy = held.run("approve", "--source", "orders", "--yes")
            assert (busy.code, "--wait" in busy.err) == (6, True)
            waiting = held.start("approve", "--source", "orders", "--yes", "--wait")
        assert waiting.communicate(timeout=60)[0].startswith("orders  cycle 2  committed")


def test_reject_leaves_everything_as_it_was(held: Shop) -> None:
    assert held.ok("reject", "--source", "orders", "--yes").out.startswith("orders  cycle 2  rejected")
    assert held.ok("status", "--json").document["head_scn"] == 5
    assert held.run("scan", "--all").code == 4


def test_without_a_terminal_both_are_needed(held: Shop) -> None:
    for more in ([], ["--cycle", "2"], ["--hash", digest(held)]):
        done = held.call("approve", "--source", "orders", *more)
        assert done.code == 2
        assert "--yes" in done.err
    assert held.ok("status", "--json").document["sources"][0]["held"]


def test_what_was_superseded_is_refused(held: Shop) -> None:
    seen = digest(held)
    held.sql("DELETE FROM orders WHERE id = 2")
    assert held.run("scan", "--all").code == 4
    done = held.run("approve", "--source", "orders", "--cycle", "2", "--hash", seen, "--json")
    assert done.code == 4
    assert "superseded" in done.document["error"]["message"]
    assert held.run("approve", "--source", "orders", "--cycle", "3", "--hash", seen).code == 4
    assert held.run("approve", "--source", "orders", "--cycle", "9", "--hash", seen).code == 2
    assert held.run("approve", "--source", "ordes", "--yes").code == 2


@pytest.mark.parametrize(("answer", "code", "head"), [("y\n", 0, 8), ("n\n", 4, 5), ("\n", 4, 5), ("\x03", 130, 5)])
def test_a_person_is_shown_what_it_is_and_asked(held: Shop, answer: str, code: int, head: int) -> None:
    seen = Seen(held, "approve", "--source", "orders")
    seen.wait_for("approve it? [y/N]:")
    assert "orders cycle 2 is held" in seen.text
    assert "3 deletes" in seen.text
    assert "status=paid" in seen.text
    seen.type(answer)
    assert seen.end() == code
    assert "Traceback" not in seen.text
    assert held.ok("status", "--json").document["head_scn"] == head


def test_a_group_is_ended_together(shop: Shop) -> None:
    shop.sql("CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (1)")
    sources = {"orders": table("orders", guards={"rows": {"min": 3}}), "items": table("items")}
    shop.configure(sources, consistency_groups={"shop": {"sources": ["orders", "items"]}})
    shop.ok("scan", "--all")
    shop.sql("DELETE FROM orders WHERE id > 2", "INSERT INTO items VALUES (2)")
    assert shop.run("scan", "--all").code == 4
    done = shop.ok("approve", "--source", "items", "--yes", "--json").lines
    assert sorted(line["source"] for line in done) == ["items", "orders"]
