"""NDJSON: the public fields in their order, and JSON values by the column's type."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from differ.formats.json_schema import json_schema
from differ.formats.ndjson import encode_line, event_lines, event_objects
from differ.model import Window
from differ.records import types as t
from differ.records.types import LogicalType
from tests.formats import factory

FIELDS = [
    "stream", "scn", "source", "op", "key", "before", "after", "changed", "cycle", "window", "schema",
    "seen_unchanged_at", "detected_at",
]  # fmt: skip


def test_an_update_is_the_documented_object() -> None:
    batch = factory.batch(
        [("update", factory.order(7), factory.order(7, "shipped"))],
        first_scn=42,
        window=Window(first=41, last=57),
    )
    (line,) = event_lines(batch)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "stream": factory.STREAM,
        "scn": 42,
        "source": "orders",
        "op": "update",
        "key": {"order_id": 7},
        "before": {"order_id": 7, "status": "paid", "total": "19.90"},
        "after": {"order_id": 7, "status": "shipped", "total": "19.90"},
        "changed": ["status"],
        "cycle": 3,
        "window": {"first": 41, "last": 57},
        "schema": 2,
        "seen_unchanged_at": "2026-11-23T10:00:00Z",
        "detected_at": "2026-11-23T10:05:00.25Z",
    }
    assert list(json.loads(line)) == FIELDS
    assert list(json.loads(line)["after"]) == ["order_id", "status", "total"]


def test_insert_has_no_before_and_delete_no_after_and_only_a_baseline_says_so() -> None:
    batch = factory.batch([("insert", None, factory.order(1)), ("delete", factory.order(2), None)], seen=None)
    insert, delete = event_objects(batch)
    assert (insert["before"], insert["after"]["order_id"]) == (None, 1)
    assert (delete["before"]["order_id"], delete["after"]) == (2, None)
    assert insert["seen_unchanged_at"] is None
    assert "baseline" not in insert
    (first,) = event_objects(factory.batch([("insert", None, factory.order(1))], baseline=True))
    assert list(first) == [*FIELDS, "baseline"]
    assert first["baseline"] is True


def test_every_type_has_its_json_form() -> None:
    (event,) = event_objects(factory.batch([("insert", None, factory.FULL_ROW)], factory.EVERY_TYPE))
    assert event["after"] == {
        "id": 1,
        "nothing": None,
        "flag": True,
        "small": -7,
        "ratio": 0.1,
        "price": "19.900",
        "wide": "12345678901234567890123456789012345678.0123456789",
        "number": "123456789012345678901234567890.5",
        "name": 'Zoë 🦉 "quoted"\nline',
        "raw": "AP9hYg==",
        "day": "2026-11-23",
        "at": "23:59:59.999999",
        "took": "-PT86399.999995S",
        "local": "2026-03-29T02:30:00",
        "instant": "1969-12-31T23:59:59.999999Z",
        "nanos": "2025-11-23T10:05:00.123456789Z",
        "uid": "12345678-1234-5678-1234-567812345678",
        "tags": ["a", None, "ü"],
        "labels": {"x": 1, "y": None},
        "place": {"city": "Pune", "zip": 411001},
        "document": {
            "_id": {"$oid": "65f000000000000000000001"},
            "address": {"city": "Pune"},
            "count": 9007199254740993,
        },
    }


def test_nulls_of_every_type_are_null() -> None:
    (event,) = event_objects(factory.batch([("delete", factory.NULL_ROW, None)], factory.EVERY_TYPE))
    assert event["before"] == factory.NULL_ROW


@pytest.mark.parametrize(
    ("value", "shown"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (1.0, 1.0)]
)
def test_what_json_has_no_number_for_is_text(value: float, shown: object) -> None:
    schema = factory.schema("id", id=t.INT, x=t.FLOAT, xs=LogicalType(kind="list", children=(("item", t.FLOAT),)))
    (event,) = event_objects(factory.batch([("insert", None, {"id": 1, "x": value, "xs": [value]})], schema))
    assert event["after"] == {"id": 1, "x": shown, "xs": [shown]}


def test_64_bit_ints_keep_every_digit() -> None:
    row = {"id": 2**63 - 1}
    (line,) = event_lines(factory.batch([("insert", None, row)], factory.schema("id", id=t.INT)))
    assert b'"after":{"id":9223372036854775807}' in line


def test_a_line_never_breaks_and_half_a_surrogate_pair_does_not_stop_the_stream() -> None:
    line = encode_line({"text": "a\nb\u2028c", "half": "\ud800"})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"text": "a\nb\u2028c", "half": "\ud800"}


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("source", ["orders", 'a"b'])
def test_a_line_is_its_object(baseline: bool, source: str) -> None:
    events: list[factory.Event] = [
        ("insert", None, factory.FULL_ROW),
        ("update", factory.FULL_ROW, factory.NULL_ROW | {"id": 1}),
        ("delete", factory.NULL_ROW, None),
        ("insert", None, factory.FULL_ROW | {"document": {"name": "HALF_A"}}),
    ]
    batch = factory.batch(events, factory.EVERY_TYPE, source=source, baseline=baseline, seen=None)
    # Half a surrogate pair is only possible as an escape inside a document's text, which has as many bytes.
    stored = batch.events.serialize().to_pybytes().replace(b"HALF_A", b"\\ud800")
    batch = replace(batch, events=pa.ipc.read_record_batch(pa.py_buffer(stored), batch.events.schema))
    objects = list(event_objects(batch))
    assert objects[3]["after"]["document"] == {"name": "\ud800"}
    assert list(event_lines(batch)) == [encode_line(value) for value in objects]


def test_a_slice_and_a_filter_keep_their_scns_and_images() -> None:
    events = [("update", factory.order(n), factory.order(n, "shipped")) for n in range(10_000)]
    batch = factory.batch(events, first_scn=100).slice(4_990, 20)
    objects = list(event_objects(batch))
    assert [event["scn"] for event in objects] == list(range(5_090, 5_110))
    assert [event["after"]["order_id"] for event in objects] == list(range(4_990, 5_010))
    assert all(event["key"]["order_id"] == event["before"]["order_id"] for event in objects)


def test_a_batch_across_a_schema_change_shows_each_image_under_its_own_schema() -> None:
    old = factory.schema("order_id", order_id=t.INT, status=t.STRING)
    before = {"order_id": 1, "status": "paid"}
    batch = factory.batch([("update", before, factory.order(1))], before_schema=old, changed=[["total"]])
    (event,) = event_objects(batch)
    assert event["before"] == before
    assert event["after"] == {"order_id": 1, "status": "paid", "total": "19.90"}


@pytest.mark.parametrize("row", [factory.FULL_ROW, factory.NULL_ROW], ids=["full", "nulls"])
def test_a_row_is_valid_under_its_json_schema(row: dict[str, object]) -> None:
    schema = json_schema(factory.EVERY_TYPE, title="everything")
    Draft202012Validator.check_schema(schema)
    (event,) = event_objects(factory.batch([("insert", None, row)], factory.EVERY_TYPE))
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(event["after"])


def test_the_json_schema_refuses_a_value_of_another_type() -> None:
    validator = Draft202012Validator(json_schema(factory.ORDERS))
    good = {"order_id": 1, "status": None, "total": "1.00"}
    assert validator.is_valid(good)
    for bad in ({"total": 1.0}, {"order_id": "1"}, {"order_id": None}, {"status": 1}, {"more": 1}):
        assert not validator.is_valid(good | bad)
    assert not validator.is_valid({"order_id": 1})
