"""What the rules of a source do on the whole road: masks, exclusion, retention, pause, dry runs, baselines."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from differ.errors import ConfigError, NotKeptError, UsageError
from differ.formats.events import change_events
from tests.cycle.world import DELTAS, World, numbered

PEOPLE: list[dict[str, Any]] = [
    {"id": i, "mail": f"{i}@shop.test", "phone": f"+49{i}", "card": f"4111{i}", "note": f"secret {i}"} for i in (1, 2)
]
PEOPLE.append({"id": 3, "mail": None, "phone": None, "card": None, "note": None})
MASKS = {"mail": "hmac", "phone": None, "card": "hidden"}


@pytest.fixture
def mask_key(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The key of masks, set as a user sets it."""
    monkeypatch.setenv("DIFFER_MASK_KEY", "our key")
    return b"our key"


def test_masked_and_excluded_values_are_nowhere(world: World, mask_key: bytes) -> None:
    world.fed("people", PEOPLE, columns={"mask": MASKS, "exclude": ["note"]})
    world.commit("people")
    digest = hmac.new(mask_key, b"1@shop.test", hashlib.sha256).hexdigest()
    assert world.state("people")[1,] == {"id": 1, "mail": digest, "phone": None, "card": "hidden"}
    assert world.state("people")[3,] == {"id": 3, "mail": None, "phone": None, "card": None}
    text = json.dumps([dict(event.after or {}) for event in world.project.events()])
    assert "shop.test" not in text
    assert "secret" not in text
    for path in world.files():
        body = (world.folder / path).read_bytes()
        assert b"shop.test" not in body
        assert b"secret 1" not in body


@pytest.mark.usefixtures("mask_key")
def test_a_masked_value_that_changes_is_an_update_only_where_it_shows(world: World) -> None:
    world.fed("people", PEOPLE, columns={"mask": MASKS, "exclude": ["note"]})
    world.commit("people")
    moved = [
        {**PEOPLE[0], "phone": "+1", "card": "5", "note": "other"},
        {**PEOPLE[1], "mail": "new@shop.test"},
        PEOPLE[2],
    ]
    assert world.commit("people", moved).updates == 1
    assert world.ops(since=3) == [("update", 2)]
    assert world.commit("people").status == "unchanged"
    world.verify("people")


def test_hmac_without_a_key_fails_before_anything_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFER_MASK_KEY", raising=False)
    world.fed("people", PEOPLE, columns={"mask": MASKS})
    with pytest.raises(ConfigError, match="DIFFER_MASK_KEY"):
        world.scan("people")


def test_a_mask_of_a_column_that_is_not_there_fails(world: World) -> None:
    world.fed("people", PEOPLE, columns={"mask": {"emial": "hidden"}})
    result = world.scan("people")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "emial" in (result.error or "")


# -- retention -------------------------------------------------------------------------------------------------


def folders(world: World) -> list[str]:
    return sorted(path.name.split("-")[1] for path in (world.folder / "snapshots" / "orders").iterdir())


def test_old_snapshots_go_and_their_events_stay(world: World) -> None:
    world.fed("orders", snapshots={"keep": 2})
    for value in "abcd":
        world.commit("orders", numbered(value))
    assert folders(world) == ["00000003", "00000004"]
    assert world.state("orders", 4) == {(1,): {"id": 1, "v": "d"}}
    assert world.state("orders", 3) == {(1,): {"id": 1, "v": "c"}}
    for scn in (1, 2):
        with pytest.raises(NotKeptError, match="no longer kept"):
            world.state("orders", scn)
        assert world.fold("orders", until=scn) == {(1,): {"id": 1, "v": "abcd"[scn - 1]}}
    with pytest.raises(UsageError, match="the head is 4"):
        world.state("orders", 5)
    with pytest.raises(UsageError, match="no committed cycle"):
        world.state("orders", 0)
    world.verify("orders")


def test_what_a_kept_delta_needs_is_kept(world: World) -> None:
    many = numbered(*(f"value {i}" for i in range(3000)))
    world.fed("orders", many, snapshots={**DELTAS, "keep": 2})
    world.commit("orders")
    for number in range(1, 6):
        many[number] = {**many[number], "v": f"new {number}"}
        world.commit("orders", many)
    manifest = world.project.snapshot("orders").manifest
    assert [part.kind for part in manifest.parts] == ["base", *["delta"] * 5]
    assert folders(world) == [f"0000000{n}" for n in range(1, 7)]
    index_files = [name for name in world.files() if name.endswith("index.arrow")]
    assert len(world.state("orders")) == 3000
    assert len(world.state("orders", 3004)) == 3000
    assert len(index_files) >= 2
    world.source("orders", snapshots={"small_base": "64MiB", "keep": 1})
    world.commit("orders", many[:-1])
    assert folders(world) == ["00000007"]
    world.verify("orders")


def test_an_unchanged_cycle_leaves_no_file(world: World) -> None:
    world.fed("orders", numbered("a"))
    world.commit("orders")
    files = world.files()
    assert world.scan("orders").status == "unchanged"
    assert world.files() == files


def test_leftovers_are_swept_at_the_next_scan_and_foreign_files_are_not(world: World) -> None:
    world.fed("orders", numbered("a"))
    world.commit("orders")
    files = world.files()
    name = f"cycle-00000009-{world.project.place.mark}-beef"
    left = [
        world.folder / "snapshots" / "orders" / name / ".part-00000.parquet.tmp",
        world.folder / ".differ" / "segments" / "orders" / f"{name}-inserts.arrow",
        world.folder / ".differ" / "spill" / "orders" / name / "entries-00.arrows",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left by a crash")
    mine = world.folder / "snapshots" / "orders" / "my-notes.txt"
    mine.write_text("not differ's")
    world.commit("orders", numbered("a"))
    assert world.files() == files | {mine.relative_to(world.folder).as_posix()}


# -- pause, dry run, baseline ----------------------------------------------------------------------------------


def test_paused_sources_are_left_out_of_all(world: World) -> None:
    world.fed("a", numbered("x"))
    world.fed("b", numbered("x"))
    world.project.pause("a")
    world.project.pause("a")
    assert [result.source for result in world.project.scan_all()] == ["b"]
    assert world.project.status()["sources"][0]["paused"] is True
    assert world.scan("a").status == "committed"
    world.project.resume("a")
    assert [result.source for result in world.project.scan_all()] == ["a", "b"]
    with pytest.raises(UsageError):
        world.project.pause("c")


def test_a_dry_run_shows_the_events_and_commits_nothing(world: World) -> None:
    world.fed("orders", numbered("a", "b", "c"))
    seen: list[Any] = []

    def show(batches: Any) -> None:
        seen.extend((e.op, e.before, e.after) for batch in batches for e in change_events(batch))

    first = world.scan("orders", dry_run=True, on_events=show)
    assert (first.status, first.inserts, len(seen)) == ("dry-run", 3, 3)
    assert world.files() == set()
    assert world.project.status()["sources"][0]["status"] == "never"
    world.commit("orders")
    files, seen[:] = world.files(), []
    rows = [{"id": 1, "v": "a", "w": 1}, {"id": 2, "v": "B", "w": None}, {"id": 4, "v": "d", "w": None}]
    result = world.scan("orders", rows, dry_run=True, on_events=show)
    assert (result.inserts, result.updates, result.deletes) == (1, 2, 1)
    assert seen == [
        ("delete", {"id": 3, "v": "c"}, None),
        ("update", {"id": 1, "v": "a"}, {"id": 1, "v": "a", "w": 1}),
        ("update", {"id": 2, "v": "b"}, {"id": 2, "v": "B", "w": None}),
        ("insert", None, {"id": 4, "v": "d", "w": None}),
    ]
    assert world.files() == files
    assert world.project.catalog.stream().head_scn == 3
    assert len(world.project.catalog.schemas("orders")) == 1
    committed = world.commit("orders")
    assert (committed.inserts, committed.updates, committed.deletes) == (1, 2, 1)
    world.verify("orders")


def test_a_dry_run_of_a_source_whose_deletes_wait_leaves_nothing(world: World) -> None:
    world.fed("orders", numbered("a", "b"))
    world.feed("orders").consistent = False
    world.commit("orders")
    files = world.files()
    assert world.scan("orders", numbered("a"), dry_run=True).waiting_deletes == 1
    assert world.files() == files
    assert world.commit("orders").waiting_deletes == 1


def test_a_snapshot_only_baseline_has_no_events_and_a_floor(world: World) -> None:
    world.fed("others", numbered("x", "y"))
    world.commit("others")
    world.fed("orders", numbered("a", "b"), baseline="snapshot-only")
    result = world.commit("orders")
    assert (result.status, result.inserts, result.scn_first) == ("committed", 0, None)
    assert {s["source"]: s["floor_scn"] for s in world.project.status()["sources"]} == {"orders": 2, "others": 0}
    assert len(world.state("orders")) == 2
    result = world.commit("orders", numbered("a", "c"))
    assert (result.updates, result.scn_first) == (1, 3)
    assert [event.baseline for event in world.project.events()] == [True, True, False]


def test_rebaseline_takes_what_is_there_without_events(world: World) -> None:
    world.fed("orders", numbered("a", "b", "c"), guards={})
    world.commit("orders")
    world.give("orders", numbered("x", "y", first=7))
    result = world.project.rebaseline("orders")
    assert (result.status, result.changes, result.scn_first, result.rows) == ("committed", 0, None, 2)
    assert sorted(world.state("orders")) == [(7,), (8,)]
    assert world.project.status()["sources"][0]["floor_scn"] == 3
    assert world.commit("orders", numbered("x", "z", first=7)).updates == 1


def test_a_rebaseline_that_fails_is_still_asked_for(world: World) -> None:
    world.fed("orders", numbered("a"))
    world.commit("orders")
    world.feed("orders").splits = [lambda ctx: [1 // 0]]
    assert world.project.rebaseline("orders").status == "failed"
    result = world.commit("orders", numbered("b"))
    assert (result.changes, world.state("orders")[1,]["v"]) == (0, "b")


def test_results_and_events_say_when_and_where(world: World) -> None:
    world.fed("orders", numbered("a"))
    first = world.commit("orders")
    world.commit("orders")
    second = world.commit("orders", numbered("b"))
    baseline, update = world.project.events("orders")
    assert (baseline.baseline, baseline.seen_unchanged_at, baseline.cycle) == (True, None, first.cycle)
    assert (update.baseline, update.cycle, update.schema) == (False, second.cycle, baseline.schema)
    assert update.seen_unchanged_at is not None
    assert baseline.detected_at < update.seen_unchanged_at <= update.detected_at
    assert {"total", "scan", "compare", "write", "commit"} <= second.seconds.keys()
    assert second.bytes_written > 0


@pytest.mark.parametrize("snapshots", [{}, DELTAS], ids=["full", "delta"])
def test_any_name_of_a_column_is_just_a_name(world: World, snapshots: dict[str, Any]) -> None:
    names = ["id", "a", "a.b", "a.b.c", "größe", "with space", '"quoted"', "tolerated.a", "loc", "key_hi", "1", "A"]
    world.fed("orders", [dict.fromkeys(names, 1), dict.fromkeys(names, 2)], snapshots=snapshots)
    world.source("orders", columns={"tolerance": {"a.b": 1, "loc": 1}, "ignore": ["a"]})
    world.commit("orders")
    rows = [dict.fromkeys(names, 1), dict.fromkeys(names, 9) | {"id": 2}]
    assert world.commit("orders", rows).updates == 1
    assert world.state("orders")[2,] == rows[1]
    assert world.commit("orders", rows[1:]).deletes == 1
    world.verify("orders")


def test_the_state_reads_with_pandas(world: World) -> None:
    world.fed("orders", numbered("a", None, "c"))
    world.commit("orders")
    frame = world.project.snapshot("orders").to_pandas()
    assert frame["v"].isna().tolist() == [False, True, False]
    assert sorted(frame["id"].tolist()) == [1, 2, 3]
