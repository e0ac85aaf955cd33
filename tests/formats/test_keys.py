"""Keys as people type them."""

from __future__ import annotations

import uuid
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from differ.errors import UsageError
from differ.formats.batch import EventBatch
from differ.formats.keys import key_mask, parse_key
from differ.formats.net import net_changes
from differ.records import types as t
from differ.records.types import LogicalType
from tests.formats import factory

COMPOSITE = factory.schema(["region", "id"], region=t.STRING, id=t.INT, x=t.INT)


def _found(text: str, batch: EventBatch) -> list[int]:
    return batch.take(key_mask(batch, parse_key(text, batch.schema))).scns


@pytest.mark.parametrize("text", ["7", "07", '{"order_id": 7}', '{"order_id": "7"}'])
def test_a_plain_value_finds_the_events_of_its_key(text: str) -> None:
    batch = factory.batch([("insert", None, factory.order(n)) for n in (6, 7, 8, 77)], first_scn=1)
    assert _found(text, batch) == [2]


@pytest.mark.parametrize(
    "text", ["region=eu,id=7", "id=7, region=eu", '{"region":"eu","id":7}', '{"id":7,"region":"eu"}']
)
def test_a_composite_key_needs_all_columns_in_any_order(text: str) -> None:
    rows = [{"region": region, "id": number, "x": 1} for region in ("eu", "us") for number in (7, 8)]
    assert _found(text, factory.batch([("insert", None, row) for row in rows], COMPOSITE, first_scn=1)) == [1]


def test_a_value_of_a_composite_key_may_hold_commas_and_equal_signs() -> None:
    row = {"region": "a,b=c", "id": 7, "x": 1}
    assert _found("region=a,b=c,id=7", factory.batch([("insert", None, row)], COMPOSITE)) == [41]


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (t.BOOL, True, "true"),
        (t.INT, -5, "-5"),
        (t.STRING, "héllo {", "héllo {"),
        (t.STRING, '{"a":1}', '{"a":1}'),
        (t.BYTES, b"\x00\xff", "AP8="),
        (t.DATE, date(2026, 11, 23), "2026-11-23"),
        (t.TIMESTAMP_UTC, factory.DETECTED, "2026-11-23T10:05:00.25Z"),
        (t.TIMESTAMP_UTC, factory.DETECTED, "2026-11-23 10:05:00.250"),
        (t.TIMESTAMP_UTC, factory.DETECTED, "2026-11-23T15:35:00.25+05:30"),
        (t.TIMESTAMP, factory.DETECTED.replace(tzinfo=None), "2026-11-23T10:05:00.25"),
        (t.UUID, uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (t.UUID, uuid.UUID(int=0xABC), "00000000-0000-0000-0000-000000000ABC"),
        (LogicalType(kind="decimal", precision=10, scale=2), Decimal("19.90"), "19.9"),
        (t.DECIMAL_TEXT, "1.5", "1.50"),
    ],
)
def test_each_type_of_key_is_read_from_its_text(type_: LogicalType, value: Any, text: str) -> None:
    schema = factory.schema("k", k=type_)
    assert _found(text, factory.batch([("insert", None, {"k": value})], schema)) == [41]


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [
        ({"$numberInt": "7"}, "7", True),
        ({"$numberLong": "7"}, "7", True),
        ({"$numberDouble": "7.0"}, "7", True),
        ("7", "7", True),
        ("7", '"7"', True),
        ({"$numberInt": "7"}, '"7"', False),
        ({"$numberInt": "7"}, '{"$numberLong":"7"}', False),
        ({"$numberInt": "7"}, '{"_id":7}', True),
        ({"$numberLong": "7"}, '{"_id":7}', True),
        ({"$numberDouble": "7.0"}, '{"_id":7}', False),
        ({"$numberDouble": "7.0"}, '{"_id":7.0}', True),
        ({"$numberDouble": "NaN"}, '{"$numberDouble":"NaN"}', True),
        ({"$document": {"$oid": "x"}}, '{"$document":{"$oid":"x"}}', True),
        ({"$date": {"$numberLong": "57"}}, '{"$date":"1970-01-01T00:00:00.057Z"}', True),
        ({"$localDate": "2026-01-01"}, '{"$localDate":"2026-01-01"}', True),
        ({"b": {"$numberLong": "1"}, "a": "x"}, '{"b":{"$numberLong":"1"},"a":"x"}', True),
        ({"a": "x", "b": "y"}, '{"b":"y","a":"x"}', True),
        ({"$numberLong": "7"}, '{"$numberLong":"7"}', True),
        ({"$oid": "65f000000000000000000001"}, "65f000000000000000000001", True),
        ({"$oid": "65f000000000000000000001"}, '{"$oid":"65f000000000000000000001"}', True),
        ({"$oid": "65f000000000000000000001"}, '{"_id":{"$oid":"65f000000000000000000001"}}', True),
        ({"$oid": "65f000000000000000000001"}, "65f000000000000000000002", False),
        (True, "true", True),
        ("a b", "a b", True),
    ],
)
def test_a_key_without_fixed_type_is_read_in_each_way_it_could_be_meant(value: Any, text: str, found: bool) -> None:
    schema = factory.schema("_id", _id=t.JSON)
    batch = factory.batch([("insert", None, {"_id": value})], schema)
    assert _found(text, batch) == ([41] if found else [])


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("x7", factory.ORDERS, "'order_id': 'x7' is no int64"),
        ("99999999999999999999", factory.ORDERS, "is no int64"),
        ('{"order_id": [1]}', factory.ORDERS, "is no int64"),
        ("7", COMPOSITE, "the key has the columns region, id"),
        ("region=eu", COMPOSITE, "the key has the columns region, id"),
        ('{"region":"eu","nr":7}', COMPOSITE, "the key has the columns region, id"),
        ("region=eu,id=x", COMPOSITE, "'id': 'x' is no int64"),
        ("1.999", factory.schema("k", k=LogicalType(kind="decimal", precision=5, scale=2)), "is no decimal"),
        ("nope", factory.schema("k", k=t.UUID), "is no uuid"),
        ("2026-13-01", factory.schema("k", k=t.DATE), "is no date"),
        ("maybe", factory.schema("k", k=t.BOOL), "is no bool"),
        ('{"$oid":', factory.schema("k", k=t.JSON), "key "),
        ('{"$oid":"x"}', factory.schema("k", k=t.JSON), "key "),
    ],
)
def test_a_key_that_cannot_be_meant_says_what_is_expected(text: str, schema: Any, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_key(text, schema)
    assert expected in error.value.message
    assert error.value.hint


def test_what_was_typed_is_kept_for_messages() -> None:
    assert parse_key("07", factory.ORDERS).shown == "07"


def test_no_event_is_of_a_key_in_an_empty_batch() -> None:
    empty = factory.batch([("insert", None, factory.order(7))]).slice(0, 0)
    assert _found("7", empty) == []
    assert list(net_changes([empty])) == []
