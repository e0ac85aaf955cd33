"""Batches of every shape become the same storage, or an error that says where and why."""

# ruff: noqa: DTZ001 - datetimes without a zone are what is tested here

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import bson
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import IteratorError, RecordError, SchemaDriftError
from differ.records.arrow import schema_from_arrow
from differ.records.canonical import row_bytes
from differ.records.fingerprints import fingerprint
from differ.records.json_values import canonical_text
from differ.records.names import parse_type
from differ.records.normalize import fit, to_arrow, to_batches
from differ.records.types import Schema
from differ.records.values import python_column


def arrow(batch: Any, **types: str) -> pa.RecordBatch:
    return to_arrow(batch, source="s", types={name: parse_type(type_) for name, type_ in types.items()})


def types_of(batch: pa.RecordBatch) -> dict[str, str]:
    return {name: str(type_) for name, type_ in schema_from_arrow(batch.schema).types.items()}


def column(batch: pa.RecordBatch, name: str) -> list[Any]:
    return python_column(batch.column(name), schema_from_arrow(batch.schema).types[name])


def bytes_of(batch: pa.RecordBatch) -> list[bytes]:
    schema = schema_from_arrow(batch.schema)
    return row_bytes(batch, schema, schema.names).to_pylist()


ROW = {
    "b": True, "i": 7, "f": 1.5, "s": "é", "d": Decimal("1.50"), "y": b"\x00", "day": date(2026, 1, 2),
    "t": time(1, 2, 3, 4), "at": datetime(2026, 1, 1, 3, tzinfo=timezone(timedelta(hours=3))),
    "local": datetime(2026, 1, 1), "long": timedelta(seconds=-1), "u": uuid.UUID(int=7), "doc": {"a": [1]},
    "oid": bson.ObjectId(b"x" * 12), "big": 2**70, "wide": bson.Int64(5), "d128": bson.Decimal128("2"), "none": None,
}  # fmt: skip
TYPES = {
    "b": "bool", "i": "int64", "f": "float64", "s": "string", "d": "decimal", "y": "bytes", "day": "date",
    "t": "time[us]", "at": "timestamp[us,UTC]", "local": "timestamp[us]", "long": "duration[us]", "u": "uuid",
    "doc": "json", "oid": "json", "big": "decimal", "wide": "int64", "d128": "decimal", "none": "null",
}  # fmt: skip


def test_python_values_find_their_types_and_come_back():
    batch = arrow([ROW, dict.fromkeys(ROW)])
    assert types_of(batch) == TYPES
    for name, value in ROW.items():
        back = column(batch, name)
        assert back[1] is None
        assert back[0] == (value.to_decimal() if isinstance(value, bson.Decimal128) else value)


def test_the_schema_of_a_batch_carries_its_logical_types():
    batch = arrow([ROW])
    assert batch.schema.equals(schema_from_arrow(batch.schema).arrow, check_metadata=True)
    assert to_arrow(batch, source="s", types={}).equals(batch)


CELLS = {
    "i": st.none() | st.integers(-(2**53), 2**53), "s": st.none() | st.text(max_size=4), "b": st.none() | st.booleans(),
    "at": st.none() | st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
}  # fmt: skip
DECLARED = {"i": "int", "s": "string", "b": "bool", "at": "timestamp[us,UTC]"}


@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=8))
def test_dicts_frames_and_arrow_give_equal_bytes(rows):
    columns = {name: [row[name] for row in rows] for name in CELLS}
    frame = pd.DataFrame(columns, dtype=object)
    arrow_types = {"i": pa.int64(), "s": pa.string(), "b": pa.bool_(), "at": pa.timestamp("us", "Europe/Berlin")}
    table = pa.table({name: pa.array(values, arrow_types[name]) for name, values in columns.items()})
    shapes = [rows, frame, table, table.to_batches()[0], table.to_pandas(types_mapper=pd.ArrowDtype)]
    shapes.append(pd.DataFrame({"i": pd.array(columns["i"], "Int64"), **{n: frame[n] for n in ("s", "b", "at")}}))
    assert len({tuple(bytes_of(arrow(shape, **DECLARED))) for shape in shapes}) == 1


@given(st.lists(st.fixed_dictionaries(CELLS), max_size=12), st.integers(1, 5))
def test_batches_in_pieces_are_the_whole(rows, size):
    schema = schema_from_arrow(arrow(rows, **DECLARED).schema)
    for shape in (
        rows,
        pa.Table.from_pylist(rows, schema.arrow),
        pd.DataFrame(rows, columns=list(CELLS), dtype=object),
    ):
        pieces = list(to_batches(shape, source="s", types=schema.types, rows=size))
        assert all(piece.num_rows <= size for piece in pieces)
        assert [row for piece in pieces for row in bytes_of(piece)] == bytes_of(arrow(rows, **DECLARED))


def test_arrow_types_become_storage():
    moments = pa.array([0, None], pa.timestamp("s", "Asia/Tokyo"))
    table = pa.table(
        {
            "u64": pa.array([2**64 - 1, None], pa.uint64()),
            "half": pa.array([1.5, None], pa.float16()),
            "neg": pa.array([Decimal("1200"), None], pa.decimal128(4, -2)),
            "d32": pa.array([Decimal("1.5"), None], pa.decimal32(5, 1)),
            "day": pa.array([86_400_000, None], pa.date64()),
            "at": moments,
            "t": pa.array([1, None], pa.time32("s")),
            "views": pa.array([["a", None], None], pa.list_view(pa.string_view())),
            "fixed": pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.large_string(), pa.int16())),
            "st": pa.array([{"x": 1, "y": ["q"]}, None], pa.struct({"x": pa.uint8(), "y": pa.large_list(pa.string())})),
            "ree": pc_run_end(pa.array(["r", None])),
            "uuid": pa.array([b"0" * 16, None], pa.uuid()),
            "json": pa.array(['{"b":1.0, "a":2}', None], pa.json_()),
            "null": pa.nulls(2),
        }
    )
    whole = arrow(table)
    assert types_of(whole) == {
        "u64": "decimal(20,0)", "half": "float32", "neg": "decimal(6,0)", "d32": "decimal(5,1)", "day": "date",
        "at": "timestamp[us,UTC]", "t": "time[us]", "views": "list<string>", "fixed": "list<int8>",
        "map": "map<string,int16>", "st": "struct<x:int16,y:list<string>>", "ree": "string", "uuid": "uuid",
        "json": "json", "null": "null",
    }  # fmt: skip
    assert [column(whole, name)[0] for name in ("u64", "neg", "views", "fixed", "map", "st")] == [
        2**64 - 1, 1200, ["a", None], [1, 2], {"k": 1}, {"x": 1, "y": ["q"]},
    ]  # fmt: skip
    assert bytes_of(arrow(table.slice(1))) == bytes_of(whole)[1:]
    assert bytes_of(arrow(pa.concat_tables([table, table]))) == bytes_of(whole) * 2


def pc_run_end(array: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.run_end_encode(array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array([1], pa.date64()), "no whole day"),
        (pa.array([2**62], pa.timestamp("s")), "does not fit timestamp"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "month_day_nano_interval has no logical type"),
        (
            pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]),
            "UTF-8",
        ),
        (pa.array(["{"], pa.json_()), "no JSON"),
        (pa.array([-(2**63)], pa.timestamp("us", "UTC")), "no time at all"),
        (pa.array([None, -(2**63)], pa.duration("ns")), "no time at all"),
    ],
    ids=["date64", "overflow", "interval", "utf8", "json", "no time", "no duration"],
)
def test_arrow_values_without_exact_form_are_named(array, message):
    with pytest.raises(RecordError, match=rf"scan s: column 'c'.*{message}"):
        arrow(pa.table({"c": array}))


def test_pandas_missing_values_are_null_and_nan_in_dicts_is_not():
    frame = pd.DataFrame(
        {
            "f": [1.5, np.nan],
            "o": pd.Series([np.nan, "x"], dtype=object),
            "at": pd.Series([pd.NaT, pd.Timestamp("2026-01-01", tz="UTC")]),
            "c": pd.Categorical([None, "a"]),
            "exact": pd.array([1.0, None], pd.ArrowDtype(pa.float64())),
        }
    )
    batch = arrow(frame)
    assert [array.null_count for array in batch.columns] == [1, 1, 1, 1, 1]
    assert str(column(arrow([{"f": float("nan")}, {"f": None}]), "f")) == "[nan, None]"


def test_a_named_index_is_a_column():
    frame = pd.DataFrame({"id": [1, 2], "v": ["a", "b"]})
    assert arrow(frame.set_index("id")).equals(arrow(frame))
    assert arrow(frame.iloc[[1, 0]]).column_names == ["id", "v"]


def test_numpy_scalars_and_mixed_numbers():
    rows = [{"n": np.int64(1), "f": 1, "d": 1}, {"n": np.int8(2), "f": 0.5, "d": Decimal("0.5")}]
    rows.append({"n": pd.NA, "f": np.float32(2), "d": None})
    assert types_of(arrow(rows)) == {"n": "int64", "f": "float64", "d": "decimal"}
    assert column(arrow(rows), "d") == [Decimal(1), Decimal("0.5"), None]
    nanos = arrow([{"t": pd.Timestamp("2026-01-01T00:00:00.000000001"), "d": np.timedelta64(1, "ns")}])
    assert types_of(nanos) == {"t": "timestamp[ns]", "d": "duration[ns]"}
    assert column(nanos, "t") == [pd.Timestamp("2026-01-01T00:00:00.000000001")]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([{"a": 1}, {"a": 2, "b": 3}], r"row 1 of a batch has the extra column 'b'"),
        ([{"a": 1, "b": 2}, {"a": 2}], r"row 1 of a batch lacks column 'b'"),
        ([{"a": 1}, (1,)], "row 1 of a batch is tuple, not a dict"),
        ([{1: 2}], "column is named 1"),
        (pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
        ("rows", "yielded str, which is no batch"),
    ],
    ids=["extra", "missing", "tuple", "name", "arrow", "frame", "text"],
)
def test_what_is_no_batch_is_named(batch, message):
    with pytest.raises(IteratorError, match=f"scan s: .*{message}"):
        arrow(batch)


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([1, "1"], "int and string"),
        ([True, 1], "bool and int"),
        ([{"a": 1}, 5], "int and json"),
        ([2**53 + 1, 0.5], "float and int"),
        ([datetime(2026, 1, 1), date(2026, 1, 1)], "date and timestamp"),
    ],
)
def test_values_of_two_types_in_a_column_are_drift_unless_declared_json(values, types):
    rows = [{"c": value} for value in values]
    with pytest.raises(SchemaDriftError, match=f"column 'c' holds both {types} values") as raised:
        arrow(rows)
    assert '@iterator(types={"c": "json"})' in (raised.value.hint or "")
    assert arrow(rows, c="json").column("c").to_pylist() == [canonical_text(value) for value in values]


@pytest.mark.parametrize(
    "value", ["\ud800", time(1, tzinfo=UTC), object(), timedelta.max], ids=["surrogate", "timetz", "object", "long"]
)
def test_a_value_without_exact_form_is_named_with_its_row(value):
    with pytest.raises(RecordError, match="scan s: column 'c', row 2 of the batch"):
        arrow([{"c": None}, {"c": None}, {"c": value}])


def test_declared_types_win_and_never_round():
    texts = [{"d": "19.90", "u": "7F1C2D3E-4b5a-6978-8796-a5b4c3d2e1f0", "at": "2026-01-01T02:00:00+02:00"}]
    batch = arrow(texts, d="decimal(10,2)", u="uuid", at="timestamp[us,UTC]")
    assert column(batch, "d") == [Decimal("19.90")]
    assert column(batch, "u") == [uuid.UUID("7f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0")]
    assert column(batch, "at") == [datetime(2026, 1, 1, tzinfo=UTC)]
    assert column(arrow(pa.table({"n": [1, 2]}), n="float"), "n") == [1.0, 2.0]
    for value, type_ in [("19.905", "decimal(10,2)"), (1.5, "int"), ("x", "uuid"), ("2026-01-01", "timestamp[us,UTC]")]:
        with pytest.raises(RecordError, match=r"column 'c', row 0 of the batch: the .* value has no exact"):
            arrow([{"c": value}], c=type_)


def test_fit_brings_a_batch_to_the_schema_or_names_the_column():
    schema = Schema(columns=tuple(schema_from_arrow(arrow([{"a": 1.5, "b": "x"}]).schema).columns))
    fitted = fit(arrow([{"b": None, "a": 2}]), schema, source="s")
    assert fitted.schema.equals(schema.arrow, check_metadata=True)
    assert fitted.to_pylist() == [{"a": 2.0, "b": None}]
    for rows, message in [
        ([{"a": 1.0}], "lacks column 'b'"),
        ([{"a": 1.0, "b": "x", "c": 1}], "new column 'c'"),
        ([{"a": 1.0, "b": 5}], "column 'b' changed its schema in mid-scan"),
        ([{"a": 2**53 + 1, "b": ""}], "column 'a' changed its schema in mid-scan"),
    ]:
        with pytest.raises(SchemaDriftError, match=message):
            fit(arrow(rows), schema, source="s")


def test_no_rows_and_no_columns():
    assert arrow([], a="int").schema.names == ["a"]
    assert arrow([]).num_rows == 0
    assert arrow([{}, {}]).num_rows == 2
    empty = arrow(pa.table({"a": pa.array([], pa.list_(pa.int32()))}))
    schema = schema_from_arrow(empty.schema)
    assert len(fingerprint(empty, schema, schema.names)) == 0
