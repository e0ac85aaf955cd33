"""Schemas that evolve: unify, convert and compare agree on what is equal."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import SchemaDriftError, UsageError
from differ.records.canonical import row_bytes
from differ.records.cells import array_of
from differ.records.compare import beyond, differs
from differ.records.convert import convert
from differ.records.json_values import canonical_text
from differ.records.names import parse_type
from differ.records.normalize import unify
from differ.records.types import Column, LogicalType, Schema
from differ.records.values import python_column
from tests.records.draw import FLAT, NESTED, storage, tables

TYPES = [parse_type(name) for name in (*FLAT, *NESTED, "int8", "float32", "decimal(76,70)", "decimal(5,2)")]


def schema_of(**types: str | LogicalType) -> Schema:
    return Schema(
        columns=tuple(
            Column(name=name, type=parse_type(type_) if isinstance(type_, str) else type_)
            for name, type_ in types.items()
        )
    )


def converted(values: list[Any], old: str, new: str) -> tuple[list[Any], list[bool]]:
    was, now = schema_of(v=old), schema_of(v=new)
    batch = pa.record_batch([array_of(values, was.types["v"])], schema=was.arrow)
    made, inexact = convert(batch, was, now)
    assert made.schema.equals(now.arrow, check_metadata=True)
    return python_column(made.column("v"), now.types["v"]), inexact.tolist()


D = Decimal
BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("old", "new", "values", "expected", "inexact"),
    [
        ("int8", "int64", [1, None], [1, None], [False, False]),
        ("int", "float", [1, BIG, 2**60, -(2**63), 2**63 - 1], [1.0, None, 2.0**60, -(2.0**63), None], [0, 1, 0, 0, 1]),
        ("float", "int", [1.0, 0.5, float("nan"), 2.0**63, None], [1, None, None, None, None], [0, 1, 1, 1, 0]),
        ("int", "decimal(20,0)", [2**63 - 1, None], [D(2**63 - 1), None], [0, 0]),
        ("int", "decimal(38,37)", [5, 50], [D(5), None], [0, 1]),
        ("int", "decimal", [5, None], [D(5), None], [0, 0]),
        ("decimal(10,2)", "decimal(12,4)", [D("1.25")], [D("1.25")], [0]),
        ("decimal(10,2)", "decimal(10,1)", [D("1.20"), D("1.25")], [D("1.2"), None], [0, 1]),
        ("decimal(50,0)", "decimal(38,0)", [D(10) ** 37, D(10) ** 40], [D(10) ** 37, None], [0, 1]),
        ("decimal(10,2)", "int", [D("7.00"), D("7.10")], [7, None], [0, 1]),
        ("decimal(10,2)", "float", [D("0.25"), D("0.10")], [0.25, None], [0, 1]),
        ("float", "decimal(10,2)", [0.25, 0.1, float("inf")], [D("0.25"), None, None], [0, 1, 1]),
        ("decimal", "decimal(10,2)", [D("1.5"), D("1.555"), D("NaN")], [D("1.50"), None, None], [0, 1, 1]),
        ("decimal(10,2)", "decimal", [D("1.50")], [D("1.5")], [0]),
        ("int", "string", [1, None], [None, None], [1, 0]),
        ("string", "int", ["1"], [None], [1]),
        ("bool", "int", [True], [None], [1]),
        ("null", "int", [None], [None], [0]),
        ("int", "null", [1, None], [None, None], [1, 0]),
        ("list<int8>", "list<int64>", [[1], None], [[1], None], [0, 0]),
        ("list<int>", "list<float>", [[1], [], [None]], [None, [], [None]], [1, 0, 0]),
        ("string", "json", ["a", None], ["a", None], [0, 0]),
    ],
)
def test_values_under_another_type(old, new, values, expected, inexact):
    assert converted(values, old, new) == (expected, [bool(flag) for flag in inexact])


def test_units_and_zones():
    micros = pa.array([1, 2**62, None], pa.int64())
    was, now = schema_of(t="timestamp[us]"), schema_of(t="timestamp[ns]")
    made, inexact = convert(pa.record_batch([micros.cast(pa.timestamp("us"))], schema=was.arrow), was, now)
    assert inexact.tolist() == [False, True, False]
    assert made.column("t").cast(pa.int64()).to_pylist() == [1000, None, None]
    nanos = pa.record_batch([pa.array([1000, 1001, -1000], pa.int64()).cast(pa.timestamp("ns"))], schema=now.arrow)
    made, inexact = convert(nanos, now, was)
    assert (made.column("t").cast(pa.int64()).to_pylist(), inexact.tolist()) == ([1, None, -1], [False, True, False])
    _, inexact = convert(nanos, now, schema_of(t="timestamp[ns,UTC]"))
    assert inexact.all()


@given(tables(("int", "decimal(20,3)", "string", "bool", "float", "uuid", "json", "list<int>")))
def test_any_column_becomes_json_by_tagging(table):
    schema, rows = table
    target = Schema(columns=tuple(Column(name=name, type=parse_type("json")) for name in schema.names))
    made, inexact = convert(storage(schema, rows), schema, target)
    assert not inexact.any()
    for name in schema.names:
        expected = [None if row[name] is None else canonical_text(row[name]) for row in rows]
        assert made.column(name).to_pylist() == expected


@given(tables())
def test_columns_come_and_go(table):
    schema, rows = table
    wider = Schema(columns=(*reversed(schema.columns), Column(name="new", type=parse_type("int"))))
    batch = storage(schema, rows)
    made, inexact = convert(batch, schema, wider)
    assert not inexact.any()
    assert made.column("new").null_count == len(rows)
    back, inexact = convert(made, wider, schema)
    assert not inexact.any()
    assert row_bytes(back, schema, schema.names).equals(row_bytes(batch, schema, schema.names))


@given(st.sampled_from(TYPES), st.sampled_from(TYPES), st.sampled_from(TYPES))
def test_unify_is_associative_and_commutative(a, b, c):
    def both(one: Schema | None, other: Schema | None) -> Schema | None:
        if one is None or other is None:
            return None
        try:
            return unify(one, other, source="s")
        except SchemaDriftError:
            return None

    first, second, third = schema_of(v=a), schema_of(v=b), schema_of(v=c)
    assert both(first, second) == both(second, first)
    assert both(first, first) == first
    left, right = both(both(first, second), third), both(first, both(second, third))
    assert left == right


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("int8", "int32", "int32"), ("int", "float32", "float64"), ("int8", "decimal(5,2)", "decimal(5,2)"),
        ("decimal(10,2)", "decimal(8,4)", "decimal(12,4)"), ("decimal(76,0)", "decimal(76,70)", "decimal"),
        ("timestamp[us]", "timestamp[ns]", "timestamp[ns]"), ("null", "list<int>", "list<int64>"),
        ("struct<a:int8>", "struct<a:int>", "struct<a:int64>"),
    ],
)  # fmt: skip
def test_unify_finds_the_narrowest_type(a, b, expected):
    assert str(unify(schema_of(v=a), schema_of(v=b), source="s").types["v"]) == expected


def test_unify_names_column_and_types():
    with pytest.raises(SchemaDriftError, match=r"column 'v' changed its type in mid-scan: int64 in one .* string"):
        unify(schema_of(v="int"), schema_of(v="string"), source="s")
    with pytest.raises(SchemaDriftError, match="column 'w' is not in every batch"):
        unify(schema_of(v="int"), schema_of(v="int", w="int"), source="s")
    assert unify(schema_of(a="int", b="null"), schema_of(b="int", a="null"), source="s").names == ("a", "b")


@given(st.data())
def test_differs_is_what_the_bytes_say(data):
    schema, rows = data.draw(tables())
    batch = storage(schema, rows)
    order = data.draw(st.permutations(range(len(rows))))
    other = batch.take(pa.array(order, pa.int64()))
    for name, type_ in schema.types.items():
        one, two = (row_bytes(side, schema, [name]).to_pylist() for side in (batch, other))
        expected = [a != b for a, b in zip(one, two, strict=True)]
        assert differs(batch.column(name), other.column(name), type_).tolist() == expected


def test_beyond_a_tolerance():
    def far(type_: str, a: list[Any], b: list[Any]) -> list[bool]:
        kind = parse_type(type_)
        return beyond(array_of(a, kind), array_of(b, kind), kind, 0.001).tolist()

    nan = float("nan")
    floats = far("float", [1.0, 1.0, nan, nan, None, None, np.inf], [1.0005, 1.1, nan, 0.0, None, 1.0, -np.inf])
    assert floats == [False, True, False, True, False, True, True]
    decimals = far("decimal(10,4)", [D("1"), D("1"), None], [D("1.001"), D("1.0011"), D(0)])
    assert decimals == [False, True, True]
    assert far("decimal", [D("1"), D("1"), D("NaN")], [D("1.0010"), D("1.0010000001"), D("NaN")]) == [
        False,
        True,
        False,
    ]
    assert far("int", [1, 5], [1, 6]) == [False, True]
    assert far("string", ["a", "a"], ["a", "b"]) == [False, True]


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_a_type_reads_back_from_its_name(type_):
    assert parse_type(str(type_)) == type_


def test_names_of_types():
    assert parse_type("struct< a : int, b : map<string, decimal(10, 2)> >") == parse_type(
        "struct<a:int64,b:map<string,decimal(10,2)>>"
    )
    for text, nearest in [
        ("strng", "string"),
        ("decimal(10;2)", "decimal(10,2)"),
        ("list<in>", "int"),
        ("map<int>", "map"),
    ]:
        with pytest.raises(UsageError) as raised:
            parse_type(text)
        assert nearest in (raised.value.hint or "")
    with pytest.raises(UsageError, match="1 to 76 digits"):
        parse_type("decimal(77,0)")
