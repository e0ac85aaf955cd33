"""The Debezium envelope, checked against a schema of its documented fields."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from differ.formats.debezium import lines, messages
from differ.model import Window
from tests.formats import factory

_ROW = {"type": ["object", "null"]}
_TIMES = {name: {"type": "integer", "minimum": 0} for name in ("ts_ms", "ts_us", "ts_ns")}
# After "Data change events" in the documentation of Debezium's connectors: `payload` of a change event, with the
# fields that all connectors share in `source`, and the `transaction` block of "Transaction metadata".
ENVELOPE = {
    "type": "object",
    "required": ["before", "after", "source", "op", "ts_ms"],
    "additionalProperties": False,
    "properties": {
        "before": _ROW,
        "after": _ROW,
        "op": {"enum": ["c", "u", "d", "r"]},
        **_TIMES,
        "source": {
            "type": "object",
            "required": ["version", "connector", "name", "ts_ms", "snapshot", "db", "table"],
            "properties": {
                "version": {"type": "string", "minLength": 1},
                "connector": {"type": "string"},
                "name": {"type": "string"},
                "snapshot": {"enum": ["true", "first", "first_in_data_collection", "last_in_data_collection",
                                      "last", "false", "incremental"]},
                "db": {"type": "string"},
                "sequence": {"type": ["string", "null"]},
                "table": {"type": ["string", "null"]},
                **_TIMES,
            },
        },
        "transaction": {
            "type": ["object", "null"],
            "required": ["id", "total_order", "data_collection_order"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "total_order": {"type": "integer", "minimum": 1},
                "data_collection_order": {"type": "integer", "minimum": 1},
            },
        },
    },
    "allOf": [
        {"if": {"properties": {"op": {"enum": ["c", "r"]}}}, "then": {"properties": {"before": {"type": "null"}}}},
        {"if": {"properties": {"op": {"const": "d"}}}, "then": {"properties": {"after": {"type": "null"}}}},
        {"if": {"properties": {"op": {"const": "u"}}}, "then": {"properties": {"after": {"type": "object"}}}},
    ],
}  # fmt: skip
EVENTS = [
    ("insert", None, factory.order(6)),
    ("update", factory.order(7), factory.order(7, "shipped")),
    ("delete", factory.order(8), None),
]


def _envelopes(*args: Any, **options: Any) -> list[Any]:
    found = [json.loads(line) for line in lines(factory.batch(*args, **options))]
    for envelope in found:
        Draft202012Validator(ENVELOPE).validate(envelope)
    return found


def test_each_op_is_a_documented_envelope() -> None:
    create, update, delete = _envelopes(EVENTS, first_scn=45, window=Window(first=41, last=57))
    assert [event["op"] for event in (create, update, delete)] == ["c", "u", "d"]
    assert update["before"] == {"order_id": 7, "status": "paid", "total": "19.90"}
    assert update["after"]["status"] == "shipped"
    assert delete["before"]["order_id"] == 8
    source = update["source"]
    assert (source["connector"], source["table"], source["snapshot"]) == ("differ", "orders", "false")
    assert (source["scn"], source["cycle"], source["db"]) == (46, 3, factory.STREAM)
    assert update["ts_ms"] == source["ts_ms"] == 1_795_428_300_250
    assert update["ts_ns"] == 1_795_428_300_250_000_000


def test_a_window_is_a_transaction() -> None:
    events = _envelopes(EVENTS, first_scn=45, window=Window(first=41, last=57))
    orders = [(event["transaction"]["total_order"], event["transaction"]["data_collection_order"]) for event in events]
    assert orders == [(5, 1), (6, 2), (7, 3)]
    assert {event["transaction"]["id"] for event in events} == {f"{factory.STREAM}:57"}


def test_a_baseline_is_read_from_a_snapshot() -> None:
    (event,) = _envelopes([EVENTS[0]], baseline=True)
    assert (event["op"], event["source"]["snapshot"]) == ("r", "true")


def test_messages_have_the_key_and_tombstones_only_when_asked_for() -> None:
    batch = factory.batch(EVENTS)
    plain = list(messages(batch))
    assert [key for key, _ in plain] == [b'{"order_id":6}', b'{"order_id":7}', b'{"order_id":8}']
    assert [value + b"\n" for _, value in plain if value is not None] == list(lines(batch))
    with_tombstones = list(messages(batch, tombstones=True))
    assert with_tombstones == [*plain, (b'{"order_id":8}', None)]


def test_the_logical_name_is_the_callers() -> None:
    (line,) = lines(factory.batch(EVENTS[:1]), name="shop")
    assert json.loads(line)["source"]["name"] == "shop"
