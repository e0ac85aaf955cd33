"""Net changes against a naive model: fold the state, compare both ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.formats.batch import EventBatch
from differ.formats.ndjson import event_objects
from differ.formats.net import net_changes
from differ.formats.table import event_row
from differ.records import types as t
from tests.formats import factory

State = dict[tuple[str, int], dict[str, Any]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[State, list[EventBatch], State]:
    """A state, legal events upon it in batches of two sources, and the state they lead to."""
    keys = [(source, number) for source in ("orders", "items") for number in range(3)]
    state: State = {key: factory.order(key[1]) for key in draw(st.lists(st.sampled_from(keys), unique=True))}
    start, batches, scn = dict(state), [], 41
    for _ in range(draw(st.integers(0, 6))):
        source = draw(st.sampled_from(["orders", "items"]))
        events: list[factory.Event] = []
        for number in draw(st.lists(st.integers(0, 2), unique=True, min_size=1)):
            key, old = (source, number), state.get((source, number))
            new = draw(st.none() | st.sampled_from(["paid", "shipped", None]).map(lambda s: {"status": s}))
            row = None if new is None else factory.order(number, new["status"])
            if row == old:
                continue
            events.append(("insert" if old is None else "delete" if row is None else "update", old, row))
            if row is None:
                del state[key]
            else:
                state[key] = row
        if events:
            batches.append(factory.batch(events, source=source, first_scn=scn))
            scn += len(events)
    return start, batches, state


@given(histories())
def test_net_changes_are_the_difference_of_the_two_states(history: tuple[State, list[EventBatch], State]) -> None:
    start, batches, end = history
    net = {(change["source"], change["key"]["order_id"]): change for change in net_changes(batches)}
    differing = {key for key in start.keys() | end.keys() if start.get(key) != end.get(key)}
    assert net.keys() == differing
    for key, change in net.items():
        assert change["op"] == ("insert" if key not in start else "delete" if key not in end else "update")
        for side, state in (("before", start), ("after", end)):
            assert change[side] == (_shown(state[key]) if key in state else None)
        assert change["changed"] == (["status"] if change["op"] == "update" else [])


@given(histories())
def test_net_changes_name_the_scns_that_they_stand_for(history: tuple[State, list[EventBatch], State]) -> None:
    _, batches, _ = history
    events = [event for batch in batches for event in event_objects(batch)]
    for change in net_changes(batches):
        own = [event["scn"] for event in events if (event["source"], event["key"]) == _identity(change)]
        assert (change["first_scn"], change["scn"], change["events"]) == (own[0], own[-1], len(own))


def _identity(change: dict[str, Any]) -> tuple[str, Any]:
    return change["source"], change["key"]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"total": str(row["total"])}


def _net(*events: Iterable[Any], schema: Any = factory.ORDERS, **options: Any) -> list[dict[str, Any]]:
    """The net of events that come one a batch."""
    batches = [factory.batch([event], schema, first_scn=n, **options) for n, event in enumerate(events, 1)]  # type: ignore[list-item]
    return list(net_changes(batches))


def test_a_column_that_no_event_named_stays_quiet() -> None:
    # `total` is ignored: it moved along with a change of status that was taken back.
    one, two, three = factory.order(1), factory.order(1, "x", "1.00"), factory.order(1, "paid", "2.00")
    assert _net(("update", one, two), ("update", two, three), changed=[["status"]]) == []
    (change,) = _net(("delete", one, None), ("insert", None, three), changed=[[]])
    assert change["changed"] == ["total"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_value_that_came_back_is_no_change(value: float | None) -> None:
    schema = factory.schema("id", id=t.INT, x=t.FLOAT)
    old, new = {"id": 1, "x": value}, {"id": 1, "x": 2.0}
    assert _net(("update", old, new), ("update", new, dict(old)), schema=schema) == []


def test_bson_types_that_look_alike_are_a_change() -> None:
    schema = factory.schema("id", id=t.INT, doc=t.JSON)
    old, new = {"id": 1, "doc": {"n": {"$numberInt": "7"}}}, {"id": 1, "doc": {"n": {"$numberLong": "7"}}}
    (change,) = _net(("delete", old, None), ("insert", None, new), schema=schema)
    assert (change["op"], change["changed"]) == ("update", ["doc"])


def test_a_new_column_that_is_null_is_no_change() -> None:
    old_schema = factory.schema("order_id", order_id=t.INT, status=t.STRING)
    before, after = {"order_id": 1, "status": "paid"}, factory.order(1, "paid", None)
    gone = factory.batch([("delete", before, None)], old_schema, first_scn=1)
    back = factory.batch([("insert", None, after)], first_scn=2, schema_id=3)
    assert list(net_changes([gone, back])) == []


def test_a_net_change_shows_as_a_row() -> None:
    old, new = factory.order(1), factory.order(1, "shipped")
    (change,) = _net(("update", old, new))
    assert event_row(change).detail == "status: paid -> shipped"


def test_keys_of_different_bson_types_are_different_keys() -> None:
    schema = factory.schema("_id", _id=t.JSON)
    old, new = {"_id": {"$numberInt": "7"}}, {"_id": {"$numberLong": "7"}}
    changes = _net(("insert", None, new), ("delete", old, None), schema=schema)
    assert [change["op"] for change in changes] == ["insert", "delete"]
