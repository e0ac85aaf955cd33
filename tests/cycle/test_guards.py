"""Guards: what is held, how a held cycle ends, and which absence counts as a delete."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from differ.errors import HeldError, UsageError
from differ.model import CycleResult, Position
from tests.cycle.world import World, numbered

MANY = numbered(*(f"v{i}" for i in range(100)))


def changed(count: int, value: str = "new") -> list[dict[str, Any]]:
    return [{"id": row["id"], "v": value} if i < count else row for i, row in enumerate(MANY)]


def guarded(world: World, **guards: Any) -> None:
    world.fed("orders", MANY, guards=guards)
    world.commit("orders")


def held(world: World, rows: Sequence[Mapping[str, Any]]) -> CycleResult:
    """Scan rows that must be held, and check that nothing of it is visible."""
    before, head = world.state("orders"), world.project.catalog.stream().head_scn
    result = world.scan("orders", rows)
    assert (result.status, result.exit_code) == ("held", 4), result
    assert result.hash
    assert world.state("orders") == before
    assert world.project.catalog.stream().head_scn == head
    world.verify("orders")
    return result


# -- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guards", "passing", "held_rows", "why"),
    [
        ({}, MANY[:80], MANY[:79], "21 of 100 rows are gone"),
        ({"deletes": 15}, MANY[:85], MANY[:84], "16 of 100 rows are gone"),
        ({"deletes": "1%"}, MANY[:90], MANY[:89], "11 of 100 rows are gone"),
        ({}, changed(90), changed(91), "91 of 100 rows changed"),
        ({"updates": "50%"}, changed(50), changed(51), "51 of 100 rows changed"),
        ({"updates": 12}, changed(12), changed(13), "13 of 100 rows changed"),
        ({"deletes": "100%", "rows": {"min": 50}}, MANY[:50], MANY[:49], "fewer than 50"),
        ({"rows": {"max": 101}}, numbered(*range(101)), numbered(*range(102)), "more than 101"),
        ({"rows": {"change": "10%"}}, MANY[:90], MANY[:89], "from 100 to 89"),
    ],
)
def test_a_limit_holds_what_is_past_it_and_passes_what_is_not(
    world: World, guards: dict[str, Any], passing: Any, held_rows: Any, why: str
) -> None:
    strings = [[{**row, "v": str(row["v"])} for row in rows] for rows in (passing, held_rows)]
    if "max" in str(guards):
        guards = {**guards, "updates": "100%"}
    guarded(world, **guards)
    result = held(world, strings[1])
    assert why in (result.reason or "")
    assert world.commit("orders", strings[0]).status == "committed"
    world.verify("orders")


def test_ten_rows_or_fewer_are_never_a_share(world: World) -> None:
    world.fed("orders", MANY[:11], guards={})
    world.commit("orders")
    assert world.commit("orders", MANY[:1]).deletes == 10


def test_an_emptied_source_is_held_and_an_empty_first_scan_is_not(world: World) -> None:
    world.fed("orders", [], guards={})
    assert world.commit("orders").rows == 0
    assert world.commit("orders", MANY[:3]).inserts == 3
    assert "0 rows" in (held(world, []).reason or "")


def test_an_emptied_source_with_an_excluded_column_is_held(world: World) -> None:
    columns = {"exclude": ["note"], "mask": {"mail": "hidden"}, "ignore": ["seen"], "tolerance": {"w": 1}}
    rows = [{"id": 1, "mail": "a@b", "note": "x", "seen": 1, "w": 2.0}]
    world.fed("orders", rows, guards={}, columns=columns)
    world.commit("orders")
    held(world, [])
    assert world.commit("orders", rows).status == "unchanged"


def test_a_server_that_went_back_in_time_is_held(world: World) -> None:
    world.fed("orders", MANY)
    feed = world.feed("orders")
    feed.position = Position(kind="lsn", parts={"main": 20}, text="0/14")
    world.commit("orders")
    assert world.project.status()["sources"][0]["position"] == "0/14"
    feed.position = Position(kind="lsn", parts={"main": 19}, text="0/13")
    result = held(world, changed(1))
    assert "went back in time" in (result.reason or "")
    feed.position = Position(kind="lsn", parts={"main": 20}, text="0/14")
    assert world.commit("orders").updates == 1
    feed.position = Position(kind="lsn", parts={"main": 5}, text="0/5")
    result = held(world, changed(2))
    world.project.approve("orders")
    assert world.project.status()["sources"][0]["position"] == "0/5"
    assert world.commit("orders").status == "unchanged"


# -- how a held cycle ends -------------------------------------------------------------------------------------


def test_approving_commits_exactly_the_held_events(world: World) -> None:
    guarded(world)
    result = held(world, changed(97)[5:])
    shown = world.project.status()["sources"][0]["held"]
    assert (shown["cycle"], shown["hash"], shown["updates"], shown["deletes"]) == (2, result.hash, 92, 5)
    world.give("orders", MANY)
    (approved,) = world.project.approve("orders", cycle=2, hash=result.hash)
    assert (approved.status, approved.scn_first, approved.scn_last) == ("committed", 101, 197)
    assert approved.exit_code == 0
    assert approved.reason is None
    ops = world.ops(since=100)
    assert ops == [*(("delete", i) for i in range(1, 6)), *(("update", i) for i in range(6, 98))]
    assert world.state("orders") == {(row["id"],): row for row in changed(97)[5:]}
    world.verify("orders")
    assert world.project.status()["sources"][0]["held"] is None
    with pytest.raises(HeldError, match="committed"):
        world.project.approve("orders", cycle=2, hash=result.hash)


def test_a_held_cycle_survives_failed_scans_and_a_new_process(world: World) -> None:
    guarded(world)
    result = held(world, MANY[:5])
    world.feed("orders").splits = [lambda ctx: [1 // 0]]
    assert world.scan("orders").status == "failed"
    world.close()
    (approved,) = world.project.approve("orders", cycle=result.cycle, hash=result.hash)
    assert approved.deletes == 95
    world.verify("orders")


def test_rejecting_keeps_the_state_and_removes_the_files(world: World) -> None:
    guarded(world)
    files = world.files()
    result = held(world, MANY[:5])
    assert world.files() > files
    (rejected,) = world.project.reject("orders", cycle=result.cycle, hash=result.hash)
    assert rejected.status == "rejected"
    assert world.files() == files
    with pytest.raises(UsageError, match="nothing is held"):
        world.project.approve("orders")
    assert world.commit("orders", changed(1)).updates == 1
    world.verify("orders")


def test_a_later_scan_that_passes_supersedes(world: World) -> None:
    guarded(world)
    result = held(world, MANY[:5])
    assert world.commit("orders", changed(1)).updates == 1
    with pytest.raises(HeldError, match="superseded"):
        world.project.approve("orders", cycle=result.cycle, hash=result.hash)
    with pytest.raises(HeldError, match="superseded"):
        world.project.reject("orders", cycle=result.cycle)
    assert not any("00000002" in name for name in world.files())


def test_a_later_scan_without_changes_supersedes(world: World) -> None:
    guarded(world)
    result = held(world, MANY[:5])
    assert world.scan("orders", MANY).status == "unchanged"
    with pytest.raises(HeldError, match="superseded"):
        world.project.approve("orders", cycle=result.cycle)


def test_a_later_held_scan_replaces(world: World) -> None:
    guarded(world)
    first, second = held(world, MANY[:5]), held(world, MANY[:6])
    assert first.hash != second.hash
    with pytest.raises(HeldError, match="superseded"):
        world.project.approve("orders", cycle=first.cycle, hash=first.hash)
    with pytest.raises(HeldError, match="its hash is"):
        world.project.approve("orders", cycle=second.cycle, hash=first.hash)
    assert len(world.state("orders")) == 100
    world.project.approve("orders", cycle=second.cycle, hash=second.hash)
    assert len(world.state("orders")) == 6
    world.verify("orders")


def test_a_scan_that_finds_the_same_is_held_under_the_same_hash(world: World) -> None:
    guarded(world)
    first, second = held(world, MANY[:5]), held(world, MANY[:5])
    assert (first.hash, first.cycle) == (second.hash, second.cycle - 1)
    with pytest.raises(HeldError, match=f"superseded; cycle {second.cycle} is held now, with the same changes"):
        world.project.approve("orders", cycle=first.cycle, hash=first.hash)
    world.project.approve("orders", cycle=second.cycle, hash=first.hash)
    assert len(world.state("orders")) == 5


def test_a_cycle_that_never_was_cannot_be_ended(world: World) -> None:
    guarded(world)
    for end in (world.project.approve, world.project.reject):
        with pytest.raises(UsageError, match="nothing is held"):
            end("orders")
        with pytest.raises(UsageError, match="no such cycle"):
            end("orders", cycle=77)


def test_a_dry_run_says_what_would_be_held_and_keeps_nothing(world: World) -> None:
    guarded(world)
    files = world.files()
    result = world.scan("orders", MANY[:5], dry_run=True)
    assert result.status == "dry-run"
    assert "would be held" in (result.reason or "")
    assert world.project.status()["sources"][0]["held"] is None
    assert world.files() == files


# -- absence ---------------------------------------------------------------------------------------------------


def skipping(world: World, mode: str = "auto", *, consistent: bool = False) -> None:
    """A source that may skip rows while it is read."""
    world.fed("orders", MANY[:10], guards={"confirm_deletes": mode})
    world.feed("orders").consistent = consistent
    world.commit("orders")


def without(*ids: int) -> list[dict[str, Any]]:
    return [row for row in MANY[:10] if row["id"] not in ids]


def waiting(world: World) -> int:
    count: int = world.project.status()["sources"][0]["waiting_deletes"]
    return count


@pytest.mark.parametrize(("mode", "consistent", "at_once"), [
    ("auto", True, True), ("auto", False, False), ("always", True, False), ("never", False, True),
])  # fmt: skip
def test_a_delete_comes_at_once_or_after_two_scans_in_a_row(
    world: World, mode: str, consistent: bool, at_once: bool
) -> None:
    skipping(world, mode, consistent=consistent)
    first = world.commit("orders", without(3))
    assert (first.deletes, first.waiting_deletes, waiting(world)) == ((1, 0, 0) if at_once else (0, 1, 1))
    assert len(world.state("orders")) == (9 if at_once else 10)
    second = world.commit("orders")
    assert (second.deletes, waiting(world)) == ((0, 0) if at_once else (1, 0))
    assert world.ops(since=10) == [("delete", 3)]
    assert world.scan("orders").status == "unchanged"
    world.verify("orders")


def test_a_key_that_reappears_starts_anew(world: World) -> None:
    skipping(world)
    assert world.commit("orders", without(3)).waiting_deletes == 1
    assert world.commit("orders", without(4)).waiting_deletes == 1
    assert world.commit("orders", without(3, 4)).deletes == 1
    assert world.ops(since=10) == [("delete", 4)]
    assert waiting(world) == 1
    assert world.commit("orders", without()).inserts == 1
    assert waiting(world) == 0
    world.verify("orders")


def test_what_waits_survives_other_changes_and_a_failed_scan(world: World) -> None:
    skipping(world)
    world.commit("orders", without(3))
    world.feed("orders").splits = [lambda ctx: [1 // 0]]
    assert world.scan("orders").status == "failed"
    rows = [{**row, "v": "new"} if row["id"] == 1 else row for row in without(3)]
    result = world.commit("orders", rows)
    assert (result.updates, result.deletes) == (1, 1)
    world.verify("orders")


def test_what_waits_keeps_waiting_through_a_schema_change(world: World) -> None:
    skipping(world)
    world.commit("orders", without(3))
    result = world.commit("orders", [{**row, "w": 1} for row in without(3)])
    assert (result.updates, result.deletes) == (9, 1)
    world.verify("orders")


def test_lookup_confirms_and_rescues(world: World) -> None:
    skipping(world)
    feed = world.feed("orders")
    asked: list[Any] = []

    def lookup(keys: Sequence[Mapping[str, Any]]) -> list[Any]:
        asked.extend(keys)
        return [[{"id": 4, "v": "v3"}, {"id": 5, "v": "changed meanwhile"}]]

    feed.lookup = lookup
    result = world.commit("orders", without(3, 4, 5))
    assert sorted(key["id"] for key in asked) == [3, 4, 5]
    assert (result.rows, result.updates, result.deletes, result.waiting_deletes) == (9, 1, 1, 0)
    assert world.ops(since=10) == [("delete", 3), ("update", 5)]
    world.verify("orders")


def test_lookup_that_finds_all_makes_no_events(world: World) -> None:
    skipping(world)
    world.feed("orders").lookup = lambda keys: [[row for row in MANY if row["id"] in {key["id"] for key in keys}]]
    assert world.scan("orders", without(3, 4)).status == "unchanged"
    assert waiting(world) == 0


def test_a_failing_lookup_commits_nothing(world: World) -> None:
    skipping(world)
    world.feed("orders").lookup = lambda keys: [1 // 0]
    result = world.scan("orders", without(3))
    assert (result.status, result.exit_code) == ("failed", 3)
    assert len(world.state("orders")) == 10


def test_deletes_that_wait_are_not_counted_by_the_guards(world: World) -> None:
    world.fed("orders", MANY, guards={})
    world.feed("orders").consistent = False
    world.commit("orders")
    assert world.commit("orders", MANY[:50]).waiting_deletes == 50
    result = held(world, MANY[:50])
    assert "50 of 100 rows are gone" in (result.reason or "")
    assert waiting(world) == 50
    world.project.approve("orders")
    assert waiting(world) == 0
    world.verify("orders")


def test_a_row_that_a_new_schema_cannot_hold_does_not_wait(world: World) -> None:
    rows = [{"id": i, "v": i if i < 9 else None} for i in range(10)]
    world.fed("orders", rows)
    world.feed("orders").consistent = False
    world.commit("orders")
    texts = [{"id": i, "v": str(i)} for i in range(8)]
    result = world.commit("orders", texts)
    assert (result.updates, result.deletes, result.waiting_deletes) == (8, 1, 1)
    assert world.ops(since=10)[0] == ("delete", 8)
    assert world.state("orders")[9,] == {"id": 9, "v": None}
    world.verify("orders")
    assert world.commit("orders").deletes == 1
    world.verify("orders")
