"""Values that went through Python's own classes are what the columns give: plain JSON, key texts, Avro."""

import json
import math
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from differ.errors import RecordError
from differ.formats.avro import avro_column
from differ.records.keytext import json_column, key_texts, python_column
from differ.records.types import JSON, Schema
from differ.sinks.avromessages import avro_value
from differ.sinks.bsonvalues import bson_value
from differ.sinks.plain import canonical_json, key_text, plain_document, plain_value
from differ.testing.feed import Feed
from tests.records.draw import FLAT, NESTED, storage, tables
from tests.sinks.feeding import changed


@settings(max_examples=40)
@given(tables())
def test_plain_values_are_those_of_events(table: tuple[Schema, list[dict[str, Any]]]) -> None:
    schema, rows = table
    batch = storage(schema, rows)
    for column in schema.columns:
        array = batch.column(column.name)
        try:
            values = python_column(array, column.type)
        except RecordError:
            continue  # a year that Python has not: no sink is given it
        expected = json_column(array, column.type)
        assert [plain_value(value, column.type) for value in values] == expected
        for value in values:
            json.dumps(plain_value(value, column.type, "simple"), allow_nan=False)
            json.dumps(plain_value(value), allow_nan=False)


@settings(max_examples=40)
@given(tables(FLAT))
def test_key_texts_are_those_that_partitions_are_hashed_by(table: tuple[Schema, list[dict[str, Any]]]) -> None:
    schema, rows = table
    schema = schema.with_key(schema.names)
    batch = storage(schema, [row for row in rows if None not in row.values()])
    try:
        columns = {column.name: python_column(batch.column(column.name), column.type) for column in schema.columns}
    except RecordError:
        return
    change = Feed().put(1)
    for index, expected in enumerate(key_texts(batch, schema).to_pylist()):
        key = {name: values[index] for name, values in columns.items()}
        assert key_text(changed(change, schema.types, key=key)) == expected


@settings(max_examples=40)
@given(tables(FLAT + NESTED))
def test_avro_values_are_those_of_columns(table: tuple[Schema, list[dict[str, Any]]]) -> None:
    schema, rows = table
    batch = storage(schema, rows)
    for column in schema.columns:
        array = batch.column(column.name)
        try:
            values = python_column(array, column.type)
        except RecordError:
            continue
        made = [avro_value(value, column.type) for value in values]
        assert repr(made) == repr(avro_column(array, column.type))


@settings(max_examples=40)
@given(tables())
def test_bson_takes_every_value(table: tuple[Schema, list[dict[str, Any]]]) -> None:
    """But for a name with a NUL, which BSON has no room for; the sink refuses the record then."""
    schema, rows = table
    batch = storage(schema, rows)
    for column in schema.columns:
        try:
            values = python_column(batch.column(column.name), column.type)
        except RecordError:
            continue
        for value in values:
            for exact in (True, False):
                made = {"v": bson_value(value, column.type, exact=exact)}
                options = bson.CodecOptions(uuid_representation=bson.UuidRepresentation.STANDARD)
                try:
                    bson.encode(made, codec_options=options)
                except bson.errors.InvalidDocument as error:
                    assert "NULL" in str(error), error  # noqa: PT017


@pytest.mark.parametrize(
    ("value", "simple"),
    [
        (bson.ObjectId("65f000000000000000000001"), "65f000000000000000000001"),
        (bson.Decimal128("1.50"), "1.50"),
        (bson.Int64(7), 7),
        (b"\x00\x01", "AAE="),
        (bson.Binary(b"\x00", 128), "AA=="),
        (math.nan, "NaN"),
        (bson.Regex("^a", "i"), '{"$regularExpression":{"pattern":"^a","options":"i"}}'),
        ({"a": [bson.ObjectId("65f000000000000000000001")]}, {"a": ["65f000000000000000000001"]}),
    ],
    ids=repr,
)
def test_the_simple_form_of_json_values(value: Any, simple: Any) -> None:
    assert plain_document({"v": value}, {"v": JSON}, "simple") == {"v": simple}


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_can_be_encoded(text: str) -> None:
    assert json.loads(canonical_json({"v": text}).encode()) == {"v": text}


def test_types_that_are_not_known_are_told_by_value() -> None:
    assert plain_value(2**70) == str(2**70)
    assert plain_value({"a": (1, {2: b"x"})}) == {"a": [1, {"2": "eA=="}]}
