"""Every line of the table in docs/concepts.md on what becomes of events when a schema or a rule changes."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from differ.formats import debezium, ndjson
from differ.model import CycleResult
from differ.records import canonical
from tests.cycle.world import DELTAS, World, numbered

IDS = pa.array([1, 2, 3], pa.int64())
KINDS: dict[str, tuple[pa.Array, pa.Array]] = {
    "int32 to int64": (pa.array([1, None, -3], pa.int32()), pa.array([1, None, -3], pa.int64())),
    "string to large_string": (pa.array(["a", None, ""], pa.string()), pa.array(["a", None, ""], pa.large_string())),
    "dictionary to string": (
        pa.array(["a", None, "a"]).dictionary_encode(),
        pa.array(["a", None, "a"], pa.string_view()),
    ),
    "decimal scale up": (
        pa.array(["1.5", None, "-2.25"]).cast(pa.decimal128(7, 2)),
        pa.array(["1.5", None, "-2.25"]).cast(pa.decimal128(9, 4)),
    ),
    "decimal precision up": (
        pa.array(["1.5", None, "2"]).cast(pa.decimal128(7, 2)),
        pa.array(["1.5", None, "2"]).cast(pa.decimal128(30, 2)),
    ),
    "ints to floats": (pa.array([1, None, 2**53], pa.int64()), pa.array([1.0, None, 2.0**53])),
    "microseconds to nanoseconds": (
        pa.array([1, None, 2], pa.timestamp("us")),
        pa.array([1000, None, 2000], pa.timestamp("ns")),
    ),
}
SNAPSHOTS = pytest.mark.parametrize("snapshots", [{}, DELTAS], ids=["full", "delta"])


def quiet(world: World, result: CycleResult) -> None:
    """A schema version at most, and no row events."""
    assert (result.inserts, result.updates, result.deletes) == (0, 0, 0), world.ops()
    assert result.scn_first is None
    assert result.status in ("committed", "unchanged")


def versions(world: World) -> int:
    return len(world.project.catalog.schemas("orders"))


@SNAPSHOTS
@pytest.mark.parametrize("kind", KINDS)
def test_a_wider_physical_type_is_no_event(world: World, kind: str, snapshots: dict[str, Any]) -> None:
    old, new = KINDS[kind]
    world.fed("orders", snapshots=snapshots)
    world.commit("orders", pa.table({"id": IDS, "v": old}))
    quiet(world, world.commit("orders", pa.table({"id": IDS, "v": new})))
    quiet(world, world.commit("orders", pa.table({"id": IDS, "v": new})))
    world.verify("orders")
    assert world.project.catalog.stream().head_scn == 3


def test_ints_to_floats_is_an_update_where_a_value_is_not_exact(world: World) -> None:
    world.fed("orders")
    world.commit("orders", pa.table({"id": IDS, "v": pa.array([1, 2, 2**53 + 1], pa.int64())}))
    result = world.commit("orders", pa.table({"id": IDS, "v": pa.array([1.0, 2.0, float(2**53)])}))
    assert (result.updates, world.ops(since=3)) == (1, [("update", 3)])
    world.verify("orders")


@SNAPSHOTS
def test_an_encoder_version_is_a_schema_version_without_events(
    world: World, monkeypatch: pytest.MonkeyPatch, snapshots: dict[str, Any]
) -> None:
    world.fed("orders", numbered("a", "b"), snapshots=snapshots)
    world.commit("orders")
    real = canonical.row_bytes
    monkeypatch.setattr(canonical, "ENCODER_VERSION", 2)
    result = world.commit("orders")
    quiet(world, result)
    assert result.status == "committed"
    assert versions(world) == 2
    assert canonical.row_bytes is real
    assert world.commit("orders").status == "unchanged"
    assert world.commit("orders", numbered("a", "c")).updates == 1
    world.verify("orders")


@SNAPSHOTS
def test_a_new_column_of_nulls_is_no_event(world: World, snapshots: dict[str, Any]) -> None:
    world.fed("orders", snapshots=snapshots)
    world.commit("orders", pa.table({"id": IDS}))
    result = world.commit("orders", pa.table({"id": IDS, "note": pa.nulls(3, pa.string())}))
    quiet(world, result)
    assert versions(world) == 2
    assert result.schema_changes == ("column 'note' added: string",)
    assert world.state("orders")[1,] == {"id": 1, "note": None}


def test_a_column_of_nulls_on_many_rows_is_no_event(world: World) -> None:
    many = 200_000
    ids = pa.array(range(many), pa.int64())
    world.fed("orders")
    world.commit("orders", pa.table({"id": ids, "v": ids.cast(pa.string())}))
    result = world.commit(
        "orders", pa.table({"id": ids, "v": ids.cast(pa.string()), "note": pa.nulls(many, pa.string())})
    )
    quiet(world, result)
    assert result.rows == world.project.snapshot("orders").rows == many
    assert versions(world) == 2


@SNAPSHOTS
def test_a_new_column_with_values_updates_exactly_their_rows(world: World, snapshots: dict[str, Any]) -> None:
    world.fed("orders", snapshots=snapshots)
    world.commit("orders", pa.table({"id": IDS, "v": ["a", "b", "c"]}))
    result = world.commit("orders", pa.table({"id": IDS, "v": ["a", "b", "c"], "note": [None, "x", None]}))
    assert (result.updates, world.ops(since=3)) == (1, [("update", 2)])
    assert versions(world) == 2
    world.verify("orders")
    assert world.state("orders")[1,] == {"id": 1, "v": "a", "note": None}


@SNAPSHOTS
def test_a_dropped_column_is_no_event(world: World, snapshots: dict[str, Any]) -> None:
    world.fed("orders", snapshots=snapshots)
    world.commit("orders", pa.table({"id": IDS, "v": ["a", "b", "c"]}))
    result = world.commit("orders", pa.table({"id": IDS}))
    quiet(world, result)
    assert result.schema_changes == ("column 'v' dropped: string",)
    assert world.state("orders") == {(i,): {"id": i} for i in (1, 2, 3)}


@SNAPSHOTS
def test_another_type_updates_exactly_the_rows_that_have_a_value(world: World, snapshots: dict[str, Any]) -> None:
    world.fed("orders", snapshots=snapshots)
    world.commit("orders", pa.table({"id": IDS, "v": pa.array([1, None, 3], pa.int64())}))
    result = world.commit("orders", pa.table({"id": IDS, "v": pa.array(["1", None, "3"])}))
    assert (result.updates, result.inserts, result.deletes) == (2, 0, 0)
    assert world.ops(since=3) == [("update", 1), ("update", 3)]
    assert [(e.before["v"], e.after["v"]) for e in world.project.events(since=3)] == [(1, "1"), (3, "3")]  # type: ignore[index]
    world.verify("orders")
    quiet(world, world.commit("orders"))


@SNAPSHOTS
@pytest.mark.parametrize(
    ("rules", "moved"),
    [({"ignore": ["s"]}, {"s": "z"}), ({"tolerance": {"n": 5}}, {"n": 12}), ({"exclude": ["s"]}, {"s": "z"})],
    ids=["ignore", "tolerance", "exclude"],
)
def test_a_rule_that_is_added_is_no_event(
    world: World, rules: dict[str, Any], moved: dict[str, Any], snapshots: dict[str, Any]
) -> None:
    rows = [{"id": i, "n": 10, "s": "a", "v": "x"} for i in (1, 2)]
    world.fed("orders", rows, snapshots=snapshots)
    world.commit("orders")
    world.source("orders", columns=rules)
    quiet(world, world.commit("orders"))
    assert versions(world) == 2
    quiet(world, world.commit("orders", [{**rows[0], **moved}, rows[1]]))
    assert versions(world) == 2
    assert world.commit("orders", [{**rows[0], **moved, "v": "y"}, rows[1]]).updates == 1
    world.verify("orders")


@SNAPSHOTS
def test_removing_ignore_updates_exactly_the_rows_that_moved_meanwhile(world: World, snapshots: dict[str, Any]) -> None:
    rows = [{"id": i, "s": "a"} for i in (1, 2, 3)]
    world.fed("orders", rows, columns={"ignore": ["s"]}, snapshots=snapshots)
    world.commit("orders")
    rows[1] = {"id": 2, "s": "b"}
    assert world.commit("orders", rows).changes == 0
    assert world.state("orders")[2,]["s"] == "a"
    world.source("orders", columns={})
    result = world.commit("orders")
    assert (result.updates, world.ops(since=3)) == (1, [("update", 2)])
    assert versions(world) == 2
    world.verify("orders")


@SNAPSHOTS
def test_removing_a_tolerance_updates_exactly_the_rows_that_drifted(world: World, snapshots: dict[str, Any]) -> None:
    rows = [{"id": i, "w": 1.0} for i in (1, 2, 3)]
    world.fed("orders", rows, columns={"tolerance": {"w": 0.5}}, snapshots=snapshots)
    world.commit("orders")
    rows[2] = {"id": 3, "w": 1.25}
    assert world.commit("orders", rows).changes == 0
    world.source("orders", columns={})
    assert (world.commit("orders").updates, world.ops(since=3)) == (1, [("update", 3)])
    world.verify("orders")


@SNAPSHOTS
def test_an_edit_of_a_tolerance_is_no_event_for_what_did_not_move(world: World, snapshots: dict[str, Any]) -> None:
    rows = [{"id": 1, "w": 1.0}, {"id": 2, "w": 1.25}]
    world.fed(
        "orders", [{"id": 1, "w": 1.0}, {"id": 2, "w": 1.0}], columns={"tolerance": {"w": 0.5}}, snapshots=snapshots
    )
    world.commit("orders")
    assert world.commit("orders", rows).changes == 0
    world.source("orders", columns={"tolerance": {"w": 0.3}})
    quiet(world, world.commit("orders"))
    assert versions(world) == 2
    world.source("orders", columns={"tolerance": {"w": 0.2}})
    assert (world.commit("orders").updates, world.ops(since=2)) == (1, [("update", 2)])
    world.verify("orders")


def test_slow_drift_shows_against_what_was_last_emitted(world: World) -> None:
    world.fed("orders", columns={"tolerance": {"w": 1}}, snapshots=DELTAS)
    updates = []
    for tenth in range(0, 31, 4):
        updates.append(world.commit("orders", [{"id": 1, "w": tenth / 10}]).updates)
    assert updates == [0, 0, 0, 1, 0, 0, 1, 0]
    assert [event.after["w"] for event in world.project.events()] == [0.0, 1.2, 2.4]  # type: ignore[index]
    assert world.state("orders")[1,]["w"] == 2.4
    world.verify("orders")


# -- what is real to consumers: plain events, which the guards usually hold ------------------------------------

MANY = [{"id": i, "other": 100 + i, "mail": f"{i}@shop", "note": "n"} for i in range(20)]


def rekeyed(world: World) -> None:
    world.feed("orders").key = ("other",)


def excluded_no_more(world: World) -> None:
    world.source("orders", columns={"mask": {"mail": "hidden"}})


def masked_no_more(world: World) -> None:
    world.source("orders", columns={"exclude": ["note"]})


def masked_otherwise(world: World) -> None:
    world.source("orders", columns={"exclude": ["note"], "mask": {"mail": "removed"}})


@SNAPSHOTS
@pytest.mark.parametrize("edit", [rekeyed, excluded_no_more, masked_no_more, masked_otherwise])
@pytest.mark.parametrize("end", ["approve", "rebaseline"])
def test_what_is_real_to_consumers_is_held_then_approved_or_rebaselined(
    world: World, edit: Callable[[World], None], end: str, snapshots: dict[str, Any]
) -> None:
    rules = {"exclude": ["note"], "mask": {"mail": "hidden"}}
    world.fed("orders", MANY, columns=rules, guards={}, snapshots=snapshots)
    world.commit("orders")
    edit(world)
    held = world.scan("orders")
    assert (held.status, held.exit_code) == ("held", 4), held
    assert len(list(world.project.events())) == 20
    if end == "approve":
        (result,) = world.project.approve("orders", cycle=held.cycle, hash=held.hash)
        assert result.changes == held.changes > 0
        world.verify("orders")
    else:
        result = world.project.rebaseline("orders")
        assert (result.status, result.changes, result.scn_first) == ("committed", 0, None)
        assert world.project.status()["sources"][0]["floor_scn"] == 20
        assert world.project.status()["sources"][0]["held"] is None
        assert world.project.catalog.stream().head_scn == 20
    assert world.project.snapshot("orders").rows == 20
    assert world.scan("orders").status == "unchanged"
    assert world.commit("orders", MANY[1:]).deletes == 1


def test_another_key_in_a_source_without_one_state_leaves_no_row_under_the_old_key(world: World) -> None:
    world.fed("orders", MANY)
    feed = world.feed("orders")
    feed.consistent = False
    world.commit("orders")
    feed.key = ("other",)
    result = world.commit("orders")
    assert (result.inserts, result.deletes, result.waiting_deletes) == (20, 20, 0)
    assert sorted(world.state("orders")) == [(100 + i,) for i in range(20)]
    world.verify("orders")


def test_another_table_is_held(world: World) -> None:
    for name in "ab":
        world.sql(
            f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, v TEXT NOT NULL);"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)"
            f"INSERT INTO {name} SELECT i, '{name}' FROM n"
        )
    world.table("orders", "a", guards={})
    assert world.commit("orders").inserts == 30
    world.table("orders", "b")
    held = world.scan("orders")
    assert (held.status, held.updates) == ("held", 30)
    url = world.settings["sources"]["orders"]["options"]["url"]
    world.source("orders", options={"url": url, "table": "a", "where": "id <= 10"})
    held = world.scan("orders")
    assert (held.status, held.deletes) == ("held", 20)
    world.source("orders", options={"url": url, "query": "SELECT id, v FROM a"}, key="id")
    assert world.commit("orders").changes == 0


# -- on_schema_change ---------------------------------------------------------------------------------------


def test_hold_keeps_a_schema_change_for_a_person(world: World) -> None:
    world.fed("orders", numbered("a", "b"), on_schema_change="hold")
    world.commit("orders")
    wider = [{"id": 1, "v": "a", "w": 1}, {"id": 2, "v": "b", "w": None}]
    held = world.scan("orders", wider)
    assert held.status == "held"
    assert "column 'w' added" in (held.reason or "")
    assert versions(world) == 1
    world.project.approve("orders", cycle=held.cycle, hash=held.hash)
    assert versions(world) == 2
    assert world.ops(since=2) == [("update", 1)]
    world.verify("orders")
    assert world.scan("orders").status == "unchanged"


def test_fail_refuses_a_schema_change(world: World) -> None:
    world.fed("orders", numbered("a", "b"), on_schema_change="fail")
    world.commit("orders")
    result = world.scan("orders", [{"id": 1, "v": "a", "w": 1}])
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "column 'w' added" in (result.error or "")
    assert len(world.state("orders")) == 2
    assert world.commit("orders", numbered("a", "c")).updates == 1


@pytest.mark.parametrize("rule", ["hold", "fail"])
def test_a_rule_of_ours_is_no_schema_change_of_the_source(world: World, rule: str) -> None:
    world.fed("orders", numbered("a", "b"), on_schema_change=rule)
    world.commit("orders")
    world.source("orders", columns={"exclude": ["v"]})
    assert world.scan("orders").status == "committed"
    assert world.state("orders") == {(1,): {"id": 1}, (2,): {"id": 2}}


@SNAPSHOTS
def test_events_of_a_window_with_a_schema_change_read_back_in_every_form(
    world: World, snapshots: dict[str, Any]
) -> None:
    world.fed("orders", snapshots=snapshots)
    world.commit("orders", pa.table({"id": IDS, "v": pa.array([1, 2, 3], pa.int64()), "gone": ["x", "y", "z"]}))
    new = pa.table({"id": pa.array([1, 2, 4], pa.int64()), "v": ["1", "2", "4"], "note": [None, "n", "m"]})
    world.commit("orders", new)
    batches = list(world.project.event_batches("orders", since=3))
    assert {(batch.before_schema.names, batch.schema.names) for batch in batches} == {
        (("id", "v", "gone"), ("id", "v", "note"))
    }
    events = list(world.project.events("orders", since=3))
    assert [(e.op, e.before, e.after) for e in events] == [
        ("delete", {"id": 3, "v": 3, "gone": "z"}, None),
        ("update", {"id": 1, "v": 1, "gone": "x"}, {"id": 1, "v": "1", "note": None}),
        ("update", {"id": 2, "v": 2, "gone": "y"}, {"id": 2, "v": "2", "note": "n"}),
        ("insert", None, {"id": 4, "v": "4", "note": "m"}),
    ]
    assert [e.changed for e in events] == [(), ("v",), ("v", "note"), ()]
    assert {e.schema for e in events} == {world.project.catalog.schemas("orders")[-1].id}
    lines = [json.loads(line) for batch in batches for line in ndjson.event_lines(batch)]
    assert [(line["op"], line["before"], line["after"]) for line in lines] == [
        (e.op, e.before, e.after) for e in events
    ]
    envelopes = [json.loads(line) for batch in batches for line in debezium.lines(batch)]
    assert [(body["op"], body["before"], body["after"]) for body in envelopes] == [
        ({"delete": "d", "update": "u", "insert": "c"}[e.op], e.before, e.after) for e in events
    ]
    world.verify("orders")
