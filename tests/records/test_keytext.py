"""Key texts, partition hashes and plain JSON values: what other languages compute again."""

import base64
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash
from bson import Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from differ.records.extended_json import key_value
from differ.records.json_values import canonical_text
from differ.records.keytext import json_column, key_texts, partition_hashes
from differ.records.names import parse_type
from differ.records.types import Column, Schema
from tests.records.draw import JSON_VALUES, storage, tables, values

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
STRINGS = st.text(max_size=8) | st.sampled_from(["", '"', "\\", "a\x00b", "\x7f", "é\n", "\u2028"])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.integers(-(2**63), 2**63 - 1), "s": STRINGS, "u": st.uuids(), "j": STRINGS | st.integers()}
        ),
        max_size=6,
    )
)  # fmt: skip
def test_a_key_text_is_the_json_of_the_key(rows):
    types = {"u": "uuid", "s": "string", "id": "int", "j": "json"}
    schema = Schema(columns=tuple(Column(name=n, type=parse_type(t)) for n, t in types.items()), key=tuple(types))
    batch = storage(schema, rows)
    expected = [
        json.dumps(
            {"id": row["id"], "j": key_value(canonical_text(row["j"])), "s": row["s"], "u": str(row["u"])},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for row in rows
    ]
    texts = key_texts(batch, schema)
    assert texts.to_pylist() == expected
    assert key_texts(batch.to_struct_array(), schema).to_pylist() == expected
    hashes = partition_hashes(texts)
    assert [int(value) for value in hashes] == [xxhash.xxh3_64_intdigest(text.encode()) for text in expected]


@pytest.mark.parametrize("vector", GOLDEN["keys"], ids=lambda vector: vector["text"])
def test_golden_partition_hashes_never_change(vector):
    assert f"{int(partition_hashes(pa.array([vector['text']]))[0]):016x}" == vector["xxh3_64"]


def test_a_wider_type_leaves_the_key_text():
    for narrow, wide, value in [
        ("int32", "int64", 7),
        ("decimal(10,2)", "decimal(12,4)", Decimal("1.50")),
        ("decimal(10,2)", "decimal", Decimal("1.5")),
    ]:
        texts = set()
        for type_ in (narrow, wide):
            schema = Schema(columns=(Column(name="k", type=parse_type(type_)),), key=("k",))
            texts.add(key_texts(storage(schema, [{"k": value}]), schema)[0].as_py())
        assert len(texts) == 1


@given(tables())
def test_every_column_has_json_values(table):
    schema, rows = table
    batch = storage(schema, rows)
    for name, type_ in schema.types.items():
        found = json_column(batch.column(name), type_)
        assert [value is None for value in found if type_.kind != "json"] == [
            row[name] is None for row in rows if type_.kind != "json"
        ]
        json.dumps(found, allow_nan=False)


@given(st.data(), st.sampled_from(["time", "timestamp", "timestamp[us,UTC]", "duration", "date", "decimal(20,3)"]))
def test_texts_tell_values_apart(data, name):
    type_ = parse_type(name)
    one, other = data.draw(values(type_)), data.draw(values(type_))
    schema = Schema(columns=(Column(name="v", type=type_),))
    first, second = json_column(storage(schema, [{"v": one}, {"v": other}]).column("v"), type_)
    assert (first == second) == (one == other)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("decimal(10,2)", Decimal("19.9"), "19.90"), ("decimal(30,20)", Decimal(0), "0.00000000000000000000"),
        ("decimal", Decimal("1.50"), "1.50"), ("bytes", b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        ("float", float("inf"), "Infinity"), ("float", -float("inf"), "-Infinity"), ("float", float("nan"), "NaN"),
        ("float", 1.0, 1.0), ("int", 2**63 - 1, 2**63 - 1), ("date", date(2026, 11, 23), "2026-11-23"),
        ("timestamp[us,UTC]", 1_500_000, "1970-01-01T00:00:01.5Z"), ("timestamp", 0, "1970-01-01T00:00:00"),
        ("timestamp[ns]", 1, "1970-01-01T00:00:00.000000001"), ("time", 36_300_250_000, "10:05:00.25"),
        ("duration", -1_500_000, "-PT1.5S"), ("list<decimal(5,2)>", [Decimal(1), None], ["1.00", None]),
        ("map<string,int>", [("a", 1)], {"a": 1}), ("map<int,bytes>", [(1, b"")], [[1, ""]]),
        ("struct<d:date>", {"d": date(2026, 1, 1)}, {"d": "2026-01-01"}), ("json", {"n": 2.5}, {"n": 2.5}),
    ],
)  # fmt: skip
def test_json_values_by_type(type_, value, expected):
    schema = Schema(columns=(Column(name="v", type=parse_type(type_)),))
    assert json_column(storage(schema, [{"v": value}, {"v": None}]).column("v"), schema.types["v"]) == [expected, None]


@given(JSON_VALUES, JSON_VALUES, st.sampled_from(["json", "list<json>", "struct<a:json>", "map<string,json>"]))
def test_no_two_json_keys_share_a_text(one, other, name):
    shapes = {
        "list<json>": lambda v: [v],
        "struct<a:json>": lambda v: {"a": v},
        "map<string,json>": lambda v: [("a", v)],
    }
    shape = shapes.get(name, lambda v: v)
    schema = Schema(columns=(Column(name="k", type=parse_type(name)),), key=("k",))
    batch = storage(schema, [{"k": shape(one)}, {"k": shape(other)}])
    first, second = key_texts(batch, schema).to_pylist()
    assert (first == second) == (canonical_text(one) == canonical_text(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (7, Int64(7)), (7, 7.0), (7, "7"), (7, Decimal(7)), ({"a": 7}, {"a": Int64(7)}), ([7], [Int64(7)]),
        (ObjectId("65f000000000000000000001"), {"$oid": "65f000000000000000000001"}),
        (ObjectId("65f000000000000000000001"), {"$oid": ObjectId("65f000000000000000000001")}),
        (Int64(7), {"$numberLong": "7"}), (float("nan"), {"$numberDouble": "NaN"}), (float("nan"), Decimal("nan")),
        ({"$document": {"x": 1}}, {"$x": 1}),
    ],
    ids=repr,
)  # fmt: skip
def test_values_that_look_alike_are_two_keys(one, other):
    schema = Schema(columns=(Column(name="k", type=parse_type("json")),), key=("k",))
    first, second = key_texts(storage(schema, [{"k": one}, {"k": other}]), schema).to_pylist()
    assert first != second


def test_an_int64_key_keeps_its_tag_where_32_bits_would_hold_it():
    schema = Schema(columns=(Column(name="k", type=parse_type("json")),), key=("k",))
    texts = key_texts(storage(schema, [{"k": value} for value in (7, Int64(7), 2**31, 7.0, -0.0)]), schema)
    assert texts.to_pylist() == ['{"k":7}', '{"k":{"$numberLong":"7"}}', '{"k":2147483648}', '{"k":7.0}', '{"k":0.0}']


def test_a_key_may_be_of_any_type():
    samples = {
        "bool": (True, "true"), "float": (1.5, "1.5"), "bytes": (b"a", '"YQ=="'),
        "date": (date(2026, 1, 2), '"2026-01-02"'),
        "duration": (1, '"PT0.000001S"'), "decimal": (Decimal("1.50"), '"1.5"'), "list<int>": ([1, None], "[1,null]"),
    }  # fmt: skip
    for name, (value, expected) in samples.items():
        schema = Schema(columns=(Column(name="k", type=parse_type(name)),), key=("k",))
        assert key_texts(storage(schema, [{"k": value}]), schema).to_pylist() == [f'{{"k":{expected}}}']
