"""Canonical bytes: equal exactly when the records are equal, whatever brought them."""

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import NullKeyError, RecordError
from differ.records import canonical
from differ.records.arrow import schema_from_arrow
from differ.records.canonical import layout, row_bytes
from differ.records.cells import array_of
from differ.records.fingerprints import check_keys, fingerprint, hash_binary
from differ.records.names import parse_type
from differ.records.normalize import to_arrow
from differ.records.parse import parse_texts
from differ.records.types import Column, Schema
from tests.records.draw import nullable, storage, tables
from tests.records.oracle import canonical_bytes


def schema_of(**types: str) -> Schema:
    return Schema(columns=tuple(Column(name=name, type=parse_type(type_)) for name, type_ in types.items()))


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def bytes_of(schema: Schema, *rows: dict[str, Any]) -> list[bytes]:
    return row_bytes(storage(schema, list(rows)), schema, schema.names).to_pylist()


@given(tables())
def test_bytes_are_what_a_plain_reading_of_the_format_gives(table):
    schema, rows = table
    expected = [canonical_bytes(row, schema, schema.names) for row in rows]
    assert row_bytes(storage(schema, rows), schema, schema.names).to_pylist() == expected


@given(tables(), st.randoms(use_true_random=False))
def test_batch_size_row_order_and_column_order_do_not_matter(table, random):
    schema, rows = table
    batch = storage(schema, rows)
    whole = row_bytes(batch, schema, schema.names).to_pylist()
    for start in range(len(rows)):
        length = random.randint(1, len(rows) - start)
        piece = row_bytes(batch.slice(start, length), schema, schema.names)
        assert piece.to_pylist() == whole[start : start + length]
    names = list(schema.names)
    random.shuffle(names)
    order = list(range(len(rows)))
    random.shuffle(order)
    moved = batch.select(names).take(pa.array(order, pa.int64()))
    assert row_bytes(moved, schema.select(names), names).to_pylist() == [whole[index] for index in order]


@given(tables())
def test_hashes_are_those_of_python_xxhash(table):
    schema, rows = table
    data = row_bytes(storage(schema, rows), schema, schema.names)
    high, low = hash_binary(data)
    assert high.dtype == low.dtype == np.uint64
    hashes = [int(a) << 64 | int(b) for a, b in zip(high, low, strict=True)]
    assert hashes == [xxhash.xxh3_128_intdigest(item) for item in data.to_pylist()]


@given(st.data())
def test_two_values_of_a_type_have_equal_bytes_exactly_when_they_are_equal(data):
    type_ = parse_type(data.draw(st.sampled_from(["int", "string", "decimal", "decimal(20,3)", "float", "bytes"])))
    one, other = data.draw(nullable(type_)), data.draw(nullable(type_))
    schema = Schema(columns=(Column(name="v", type=type_),))
    first, second = bytes_of(schema, {"v": one}, {"v": other})
    assert (first == second) == (one == other or (is_nan(one) and is_nan(other)))


@given(st.lists(st.tuples(st.none() | st.integers(-100, 100), st.none() | st.text(max_size=5)), max_size=12))
def test_physical_types_of_one_meaning_give_equal_bytes(rows):
    numbers, texts = [row[0] for row in rows], [row[1] for row in rows]
    ints = [pa.array(numbers, type_) for type_ in (pa.int8(), pa.int32(), pa.int64())]
    ints.append(pa.array(numbers, pa.int16()).dictionary_encode())
    strings = [pa.array(texts, type_) for type_ in (pa.string(), pa.large_string(), pa.string_view())]
    strings.append(pa.array(texts, pa.string()).dictionary_encode())
    strings.append(pa.array(["cut off", *texts], pa.string()).slice(1))
    seen = set()
    for left in ints:
        for right in strings:
            batch = to_arrow(pa.table({"n": left, "s": right}), source="s", types={})
            schema = schema_from_arrow(batch.schema)
            seen.add(
                (json.dumps(layout(schema, schema.names)), tuple(row_bytes(batch, schema, ["n", "s"]).to_pylist()))
            )
    assert len(seen) == 1


def test_what_looks_alike_is_not_the_same():
    pair = schema_of(a="string", b="string")
    rows = [
        {"a": "a", "b": "bc"},
        {"a": "ab", "b": "c"},
        {"a": "abc", "b": ""},
        {"a": "abc", "b": None},
        {"a": "", "b": "abc"},
        {"a": None, "b": "abc"},
    ]
    assert len(set(bytes_of(pair, *rows))) == len(rows)
    document = schema_of(j="json")
    values = [1, True, "1", 1.0, Decimal(1), None, {}, [], {"a": None}, {"a": 1}, {"a": 2**40}, [1], [[1]], b"1"]
    tricky = [{"$numberInt": "1"}, {"$document": {"$numberInt": "1"}}, {"$oid": "0" * 24}]
    assert len(set(bytes_of(document, *({"j": value} for value in values + tricky)))) == len(values + tricky)


def test_what_is_equal_has_one_form():
    assert len(set(bytes_of(schema_of(f="float"), {"f": 0.0}, {"f": -0.0}))) == 1
    quiet, negative = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    nans = pa.record_batch({"f": pa.array(np.array([np.nan, quiet, negative]))})
    assert len(set(row_bytes(nans, schema_of(f="float"), ["f"]).to_pylist())) == 1
    texts = ["1.0", "1.00", "1E0", "10e-1", "+1"]
    batch = pa.record_batch({"d": pa.array(texts)})
    assert len(set(row_bytes(batch, schema_of(d="decimal"), ["d"]).to_pylist())) == 1
    assert bytes_of(schema_of(d="decimal"), {"d": Decimal("NaN")}) == bytes_of(
        schema_of(d="decimal"), {"d": Decimal("-sNaN")}
    )


def test_bytes_under_a_null_do_not_count():
    clean = pa.record_batch({"n": pa.array([None], pa.int64()), "s": pa.array([None], pa.string())})
    validity = pa.py_buffer(b"\x00")
    dirty_int = pa.Array.from_buffers(pa.int64(), 1, [validity, pa.py_buffer(b"\x07" * 8)])
    dirty_text = pa.Array.from_buffers(
        pa.string(), 1, [validity, pa.py_buffer(np.array([0, 3], np.int32)), pa.py_buffer(b"abc")]
    )
    dirty = pa.record_batch({"n": dirty_int, "s": dirty_text})
    schema = schema_of(n="int", s="string")
    assert row_bytes(dirty, schema, schema.names).to_pylist() == row_bytes(clean, schema, schema.names).to_pylist()


def test_more_bytes_than_an_arrow_array_holds_become_chunks(monkeypatch):
    schema = schema_of(n="int", s="string")
    rows = [{"n": index, "s": "x" * index} for index in range(40)]
    whole = bytes_of(schema, *rows)
    monkeypatch.setattr(canonical, "_BYTES_MAX", 100)
    chunked = row_bytes(storage(schema, rows), schema, schema.names)
    assert isinstance(chunked, pa.ChunkedArray)
    assert chunked.num_chunks > 1
    assert chunked.to_pylist() == whole
    monkeypatch.setattr(canonical, "_BYTES_MAX", 50)
    with pytest.raises(RecordError, match="row 38 of the batch is larger"):
        row_bytes(storage(schema, rows), schema, schema.names)


def test_layout_changes_with_what_changes_bytes_and_with_nothing_else():
    base = schema_of(a="int32", b="decimal(10,2)", c="list<int>")
    names = base.names
    same = [
        schema_of(a="int64", b="decimal(10,2)", c="list<int>"),
        schema_of(c="list<int8>", b="decimal(38,2)", a="int8"),
    ]
    other = [
        schema_of(a="float", b="decimal(10,2)", c="list<int>"),
        schema_of(a="int", b="decimal(10,3)", c="list<int>"),
    ]
    other += [
        schema_of(a="int", b="decimal(39,2)", c="list<int>"),
        schema_of(a="int", b="decimal(9,2)", c="list<float>"),
    ]
    assert all(layout(schema, names) == layout(base, names) for schema in same)
    assert all(layout(schema, names) != layout(base, names) for schema in other)


def test_a_null_key_is_named():
    schema = schema_of(region="string", id="int").with_key(["region", "id"])
    batch = storage(schema, [{"region": "eu", "id": 1}, {"region": "us", "id": None}])
    check_keys(batch.slice(0, 1), schema, source="orders")
    with pytest.raises(NullKeyError, match=r"scan orders: key column 'id' is null \(row 1 of the batch, region='us'\)"):
        check_keys(batch, schema, source="orders")


def test_the_key_hash_depends_on_the_key_alone():
    schema = schema_of(id="int", v="string").with_key(["id"])
    marks = fingerprint(storage(schema, [{"id": 1, "v": "a"}, {"id": 1, "v": "b"}]), schema, schema.names)
    assert len(marks) == 2
    assert (marks.key_hi[0], marks.key_lo[0]) == (marks.key_hi[1], marks.key_lo[1])
    assert (marks.row_hi[0], marks.row_lo[0]) != (marks.row_hi[1], marks.row_lo[1])
    assert len(fingerprint(storage(schema, []), schema, schema.names)) == 0


GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


@pytest.mark.parametrize("vector", GOLDEN["rows"], ids=lambda vector: vector["name"])
def test_golden_bytes_and_hashes_never_change(vector):
    type_ = parse_type(vector["type"])
    schema = Schema(columns=(Column(name="v", type=type_),))
    if vector["storage"] is None:
        array = array_of([None], type_)
    elif type_.kind == "bytes":
        array = pa.array([bytes.fromhex(vector["storage"])])
    elif type_.kind in ("string", "json"):
        array = pa.array([vector["storage"]])
    else:
        array, _ = parse_texts(pa.array([vector["storage"]]), type_)
    data = row_bytes(pa.record_batch([array], schema=schema.arrow), schema, ["v"])
    high, low = hash_binary(data)
    assert data[0].as_py().hex() == vector["bytes"]
    assert f"{int(high[0]):016x}{int(low[0]):016x}" == vector["xxh3_128"]


def test_the_format_page_shows_the_golden_vectors():
    page = (Path(__file__).parents[2] / "docs" / "formats" / "canonical-bytes.md").read_text()
    shown = {line.split("`")[-2] for line in page.splitlines() if line.startswith("| ") and line.count("`") >= 4}
    known = {vector["xxh3_128"] for vector in GOLDEN["rows"]} | {vector["xxh3_64"] for vector in GOLDEN["keys"]}
    vectors = {mark for mark in shown if len(mark) in (16, 32) and set(mark) <= set("0123456789abcdef")}
    assert len(vectors) > 20
    assert vectors <= known
