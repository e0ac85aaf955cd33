"""Canonical and relaxed Extended JSON: every type apart, nothing lost, and back."""

# ruff: noqa: DTZ001 - datetimes without a zone are what is tested here

import json
import math
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
import numpy as np
import pandas as pd
import pytest
from bson import json_util
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.regex import Regex
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import CorruptionError, RecordError
from differ.records.extended_json import from_relaxed, key_value
from differ.records.json_values import canonical_text, inner_text, json_text_canonical, loads, relaxed_value
from tests.records.draw import JSON_VALUES, TEXT

OID = bson.ObjectId("65f000000000000000000001")
BSON_VALUES = {
    "oid": OID, "int32": 1, "int64": Int64(1), "double": 1.0, "decimal": Decimal128("1.5"), "string": "1", "true": True,
    "null": None, "date": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), "far": DatetimeMS(2**60), "bytes": b"\x00\xff",
    "binary": bson.Binary(b"x", 128), "uuid": UUID(int=5), "regex": Regex("^a", "im"), "code": bson.Code("f()"),
    "scoped": bson.Code("f()", {"x": 1}), "timestamp": bson.Timestamp(5, 6), "min": bson.MinKey(), "max": bson.MaxKey(),
    "ref": bson.DBRef("c", OID, "d"), "array": [1, [2.5]], "document": {"b": 1, "a": {}},
}  # fmt: skip
NAMES = st.text(max_size=2) | st.sampled_from(
    ["$oid", "$date", "$numberLong", "$numberInt", "$document", "$ref", "$id", "$code", "$scope", "$x", "a"]
)
OWN_VALUES = [
    2**63, -(2**63) - 1, Decimal("1." + "1" * 40), datetime(1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, UTC),
    datetime(2026, 1, 1), date(1, 1, 1), time(1, 2, 3, 4), timedelta(days=-1, microseconds=7), {"$oid": "no"},
    {"a": {"$ref": "c", "$id": 1}}, {"$document": {"$x": 1}},
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in BSON_VALUES if name not in ("far",)])
def test_bson_values_are_written_as_the_specification_says(name):
    options = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, uuid_representation=4)
    expected = json_util.dumps([BSON_VALUES[name]], json_options=options)
    assert json.loads(canonical_text([BSON_VALUES[name]])) == json.loads(expected)


@pytest.mark.parametrize("value", [*BSON_VALUES.values(), *OWN_VALUES], ids=repr)
def test_every_value_comes_back_as_itself(value):
    text = canonical_text(value)
    assert canonical_text(loads(text)) == text
    assert loads(text) == value
    assert type(loads(text)) is type(value)
    json.dumps(relaxed_value(text))


def test_no_two_types_share_a_text():
    texts = [canonical_text(value) for value in [*BSON_VALUES.values(), *OWN_VALUES]]
    assert len(set(texts)) == len(texts)


ALL_VALUES = st.recursive(
    JSON_VALUES | st.sampled_from([*BSON_VALUES.values(), *OWN_VALUES])
    | st.builds(Int64, st.integers(-(2**31) - 1, 2**31) | st.integers(-(2**63), 2**63 - 1))
    | st.builds(DatetimeMS, st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**14), 10**15))
    | st.decimals() | st.builds(bson.Code, TEXT, st.none() | st.dictionaries(TEXT, JSON_VALUES, max_size=2)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
    | st.builds(bson.DBRef, st.just("c"), inner, st.none(), st.dictionaries(st.sampled_from("ab"), inner)),
    max_leaves=6,
)  # fmt: skip


def _plainly(value: Any, top: bool = False) -> str:
    """The rules in their plainest form: the encoder's short cuts for common kinds must not show."""
    if isinstance(value, dict):
        names = sorted(value) if top else list(value)
        pairs = [f"{json.dumps(name, ensure_ascii=False)}:{_plainly(value[name])}" for name in names]
        body = "{" + ",".join(pairs) + "}"
        return '{"$document":' + body + "}" if any(name.startswith("$") for name in names) else body
    if isinstance(value, list):
        return "[" + ",".join(map(_plainly, value)) + "]"
    if type(value) is str:
        return json.dumps(value, ensure_ascii=False)
    if type(value) is int and -(2**63) <= value < 2**63:
        return json.dumps({"$numberInt" if -(2**31) <= value < 2**31 else "$numberLong": str(value)}).replace(" ", "")
    if type(value) is float and math.isfinite(value):
        return '{"$numberDouble":"' + repr(value or 0.0) + '"}'
    return canonical_text(value)


@given(ALL_VALUES)
def test_short_cuts_change_nothing(value):
    assert canonical_text(value) == _plainly(value, top=True)
    assert inner_text(value) == _plainly(value) == canonical_text([value])[1:-1]


def _written(value: Any) -> Any:
    """What a reader of JSON gets of a line."""
    return json.loads(json.dumps(value, allow_nan=False))


def _id_text(value: Any) -> str:
    return canonical_text([value])[1:-1]


@given(ALL_VALUES)
def test_a_key_value_is_read_back_as_the_value(value):
    text = _id_text(value)
    assert _id_text(from_relaxed(_written(key_value(text)))) == text
    assert _id_text(from_relaxed(json.loads(text))) == text


@given(ALL_VALUES)
def test_a_relaxed_value_is_read_back_as_the_value_but_for_the_width_of_an_int(value):
    text = _id_text(value)
    narrow = re.sub(r'"\$numberLong":"(-?[0-9]{1,10})"', _narrowed, text)
    assert (
        re.sub(r'"\$numberLong":"(-?[0-9]{1,10})"', _narrowed, _id_text(from_relaxed(_written(relaxed_value(text)))))
        == narrow
    )


def _narrowed(found: re.Match[str]) -> str:
    return f'"$numberInt":"{found[1]}"' if -(2**31) <= int(found[1]) < 2**31 else found[0]


@pytest.mark.parametrize(
    "document", [{"$numberLong": "5"}, {"$date": "hello"}, {"$oid": OID}, {"a": 1, "$b": {"$c": 2}}]
)
def test_a_document_that_looks_like_a_tag_stays_a_document(document):
    text = canonical_text({"v": document})
    assert loads(text) == {"v": document}
    assert relaxed_value(text)["v"].keys() == {"$document"}
    assert from_relaxed(_written(relaxed_value(text))) == {"v": document}


def test_values_that_relaxed_json_shows_alike_differ_in_keys():
    assert key_value(canonical_text(Int64(7))) == {"$numberLong": "7"}
    assert key_value(canonical_text(7)) == relaxed_value(canonical_text(Int64(7))) == 7
    assert key_value(canonical_text(2**31)) == 2**31
    assert repr(key_value(canonical_text(7.0))) == "7.0"


@pytest.mark.parametrize("body", [{"$oid": "x"}, {"$date": "hello"}, {"$numberInt": "1", "a": 1}, {"$document": 1}])
def test_extended_json_that_makes_no_sense_is_said(body):
    with pytest.raises(CorruptionError, match="read Extended JSON"):
        from_relaxed([body])


@given(JSON_VALUES)
def test_text_of_what_was_read_is_the_text(value):
    text = canonical_text(value)
    assert "\n" not in text
    assert canonical_text(loads(text)) == text
    everywhere = canonical_text(value, sort_all=True)
    assert canonical_text(loads(everywhere), sort_all=True) == everywhere


def test_key_order_counts_only_inside():
    assert canonical_text({"b": 1, "a": 2}) == canonical_text({"a": 2, "b": 1})
    assert canonical_text({"x": {"b": 1, "a": 2}}) != canonical_text({"x": {"a": 2, "b": 1}})
    assert canonical_text([{"b": 1, "a": 2}], sort_all=True) == canonical_text([{"a": 2, "b": 1}], sort_all=True)
    assert canonical_text(bson.SON([("b", 1), ("a", 2)])) == canonical_text({"a": 2, "b": 1})


def test_equal_numbers_have_one_text():
    assert canonical_text(-0.0) == canonical_text(0.0)
    assert canonical_text(float("nan")) == canonical_text(-float("nan")) == '{"$numberDouble":"NaN"}'
    assert canonical_text(Decimal("1.0")) == canonical_text(Decimal("1.00")) == canonical_text(Decimal128("1E0"))
    moved = datetime(2026, 1, 1, 3, tzinfo=timezone(timedelta(hours=3)))
    assert canonical_text(moved) == canonical_text(datetime(2026, 1, 1, tzinfo=UTC))


def test_numpy_and_pandas_scalars_are_what_they_hold():
    assert canonical_text(np.int32(5)) == canonical_text(5)
    assert canonical_text(np.float64(0.5)) == canonical_text(0.5)
    assert canonical_text([pd.NA, pd.NaT, np.bool_(True)]) == "[null,null,true]"
    assert canonical_text(np.array([[1, 2]])) == canonical_text([[1, 2]])
    nanos = pd.Timestamp("2026-01-01T00:00:00.000000001Z")
    assert canonical_text(nanos) == '{"$instant":"2026-01-01T00:00:00.000000001Z"}'
    assert canonical_text(np.datetime64("2026-01-01T00:00:00.000000001")) == (
        '{"$localDateTime":"2026-01-01T00:00:00.000000001"}'
    )
    assert loads(canonical_text(nanos)) == nanos


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"$a": value}], ids=["arrays", "documents"])
def test_values_up_to_the_limit_of_nesting_are_written_and_read_and_no_deeper_ones(wrap):
    value = wrap(Int64(1))
    for _ in range(199):
        value = wrap(value)
    text = canonical_text(value)
    assert loads(text) == from_relaxed(_written(key_value(text))) == value
    with pytest.raises(RecordError, match="deeper than 200 levels"):
        canonical_text(wrap(value))
    with pytest.raises(RecordError, match="deeper than 200 levels"):
        json_text_canonical("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: 2}, "the key 1, which is no string"),
        (object(), "type object has no exact form"),
        ({"a": "\ud800"}, "lone surrogate"),
        (time(1, tzinfo=UTC), "time zone"),
        (_deep(), "nested deeper than 200 levels"),
    ],
    ids=["key", "object", "surrogate", "timetz", "deep"],
)
def test_what_has_no_exact_form_is_refused(value, message):
    with pytest.raises(RecordError, match=message):
        canonical_text(value)


def test_relaxed_values_are_plain_json():
    text = canonical_text(BSON_VALUES)
    relaxed = relaxed_value(text)
    options = json_util.JSONOptions(json_mode=json_util.JSONMode.RELAXED, uuid_representation=4, tz_aware=True)
    expected = json.loads(json_util.dumps({k: v for k, v in BSON_VALUES.items() if k != "date"}, json_options=options))
    assert relaxed.pop("date") == {"$date": "2026-01-02T03:04:05.678Z"}
    assert relaxed == expected
    assert relaxed_value(canonical_text(math.inf)) == {"$numberDouble": "Infinity"}


def test_json_text_keeps_every_digit():
    text = json_text_canonical(
        '{"b": 1.50, "a": 0.12345678901234567890123, "c": 12345678901234567890, "d": 1e400, "b": 2}'
    )
    assert relaxed_value(text) == {
        "a": {"$numberDecimal": "0.12345678901234567890123"},
        "b": 2,
        "c": {"$bigInt": "12345678901234567890"},
        "d": {"$numberDecimal": "1E+400"},
    }
    assert json_text_canonical('{"x":{"b":1.5,"a":1}}') == json_text_canonical('{"x":{"a":1,"b":1.50}}')
    assert json_text_canonical("1") != json_text_canonical("1.0")
    with pytest.raises(RecordError, match="no JSON"):
        json_text_canonical("{")


def test_a_damaged_text_is_corruption():
    for text in ("{", '{"$unknown":1}', '{"$date":5}', '{"$numberInt":"x"}'):
        with pytest.raises(CorruptionError, match=re.escape("read a json value")):
            loads(text)


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=4))
def test_json_text_means_the_same_as_its_value(document):
    assert json_text_canonical(json.dumps(document)) == canonical_text(document, sort_all=True)
