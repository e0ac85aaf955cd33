"""CSV: types found only where every text comes back, nulls, quotes, and errors that name file and line."""

import bz2
import csv
import gzip
import io
import tempfile
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import ConfigError, InterruptedScanError, RecordError, SchemaDriftError, SourceError
from differ.iterators.files import csv_parser, files
from differ.iterators.files.texts import TextColumn
from differ.iterators.files.typed import of_texts
from tests.iterators.scans import make_context, read_batches, read_rows, read_types


@pytest.mark.parametrize(
    ("texts", "type_"),
    [
        (["1", "-20", "0", "9223372036854775807"], "int64"),
        (["1", "9223372036854775808"], "string"),
        (["007", "8"], "string"),
        (["1", "007"], "string"),
        (["+1"], "string"),
        (["-0"], "string"),
        (["1e5"], "string"),
        ([" 1"], "string"),
        (["1 "], "string"),
        (["1,5"], "string"),
        (["1_000"], "string"),
        (["19.90", "-0.05", "1000.00"], "decimal(38,2)"),
        (["19.90", "5"], "string"),
        (["0." + "1" * 38], "decimal(38,38)"),
        (["1." + "1" * 38], "string"),
        (["-0.00"], "string"),
        (["0.1", "1.25", "-3.5"], "float64"),
        (["1.5", "2", "0.25"], "float64"),
        (["1.5", "2.0", "0.25"], "float64"),
        (["1.5", "2.0", "3", "0.25"], "string"),
        (["0.1000000000000000055", "1.5"], "string"),
        (["1.5", "nan"], "string"),
        (["true", "false"], "bool"),
        (["True", "false"], "string"),
        (["t", "f"], "string"),
        (["2024-02-29", "0001-01-01"], "date"),
        (["2024-02-30"], "string"),
        (["2024-2-1"], "string"),
        (["2024-02-29 10:00:00", "1969-12-31 23:59:59"], "timestamp[us]"),
        (["2024-02-29T10:00:00Z"], "timestamp[us,UTC]"),
        (["2024-02-29T10:00:00.123456+00:00"], "timestamp[us,UTC]"),
        (["2024-02-29T10:00:00.123456789"], "timestamp[ns]"),
        (["2024-02-29T10:00:00", "2024-02-29T10:00:00Z"], "string"),
        (["2024-02-29T10:00:00.1", "2024-02-29T10:00:00.12"], "string"),
        (["2024-02-29T10:00:00+02:00"], "string"),
        (["2024-02-29T24:00:00"], "string"),
        (["2024-02-29", "2024-02-29T10:00:00"], "string"),
        (["1", None, "2"], "int64"),
        (["1", ""], "string"),
        ([None, None], "string"),
        ([], "string"),
    ],
)
def test_a_type_is_found_only_where_every_text_comes_back(texts: list[str | None], type_: str) -> None:
    column = TextColumn()
    column.feed(pa.array(texts, pa.string()))
    assert str(column.type) == type_
    one_by_one = TextColumn()
    for text in texts:
        one_by_one.feed(pa.array([text], pa.string()))
    assert one_by_one.type == column.type


NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=True).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.text("0123456789.-+eE ", max_size=6),
)
MOMENTS = st.one_of(st.dates().map(str), st.datetimes().map(str), st.datetimes().map(lambda d: d.isoformat() + "Z"))


@given(
    st.one_of(st.lists(NUMBERS, max_size=4), st.lists(MOMENTS, max_size=4), st.lists(st.text(max_size=4), max_size=4))
)
def test_texts_that_differ_stay_different_and_numbers_stay_equal(texts: list[str]) -> None:
    array = pa.array(texts, pa.string())
    column = TextColumn()
    column.feed(array)
    values = of_texts(array, column.type).to_pylist()
    for text, value in zip(texts, values, strict=True):
        same = [other == value for other in values]
        assert same == [other == text for other in texts]
        if column.type.kind in ("int", "decimal"):
            assert Decimal(text) == value
        if column.type.kind == "float":
            assert float(text) == value


def write(folder: Path, name: str, text: str | bytes) -> dict[str, Any]:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return {"path": name}


def test_rows_with_their_types(tmp_path: Path) -> None:
    options = write(
        tmp_path, "a.csv", 'id,code,total,note\r\n1,007,19.90,\r\n2,010,5.00,""\r\n\r\n3,,,"a ""b""\nc"\r\n'
    )
    assert read_rows(files, options, tmp_path) == [
        {"id": 1, "code": "007", "total": Decimal("19.90"), "note": None},
        {"id": 2, "code": "010", "total": Decimal("5.00"), "note": ""},
        {"id": 3, "code": None, "total": None, "note": 'a "b"\nc'},
    ]


def test_columns_key_and_excluded_ones(tmp_path: Path) -> None:
    options = write(tmp_path, "a.csv", "id,secret,b\n1,x,2\n") | {"columns": ["b", "id", "secret"]}
    reader = files.__differ_iterator__.open(make_context(options, tmp_path, key=("id",), columns_excluded=("secret",)))
    schema = reader.schema()
    assert schema is not None
    assert (schema.names, schema.key, reader.key, reader.consistent) == (("b", "id"), ("id",), ("id",), True)


@pytest.mark.parametrize(
    ("more", "text", "rows"),
    [
        ({"delimiter": ";"}, "a;b\n1;x,y\n", [{"a": 1, "b": "x,y"}]),
        ({"header": False, "column_names": ["a", "b"]}, "1,x\n", [{"a": 1, "b": "x"}]),
        ({"column_names": ["a", "b"]}, "1,x\n", [{"a": 1, "b": "x"}]),
        ({"header": True, "column_names": ["a", "b"]}, "x,x\n1,x\n", [{"a": 1, "b": "x"}]),
        ({"column_names": ["a"]}, "", []),
        ({}, "a,b\n", []),
        ({"null_values": ["", "NULL"]}, 'a,b\n1,NULL\n,"NULL"\n', [{"a": 1, "b": None}, {"a": None, "b": "NULL"}]),
        ({"types": {"a": "string"}}, "a,b\n1,2\n", [{"a": "1", "b": 2}]),
        ({"types": {"a": "decimal(10,2)", "b": "bool"}}, "a,b\n1.5,true\n", [{"a": Decimal("1.50"), "b": True}]),
        ({"types": {"a": "json"}}, 'a\n"{""x"":[1]}"\n', [{"a": {"x": [1]}}]),
        ({}, "\ufeffa,b\n1,2\n", [{"a": 1, "b": 2}]),
        ({}, 'a\n"5"" pipe"\n5" pipe\n', [{"a": '5" pipe'}, {"a": '5" pipe'}]),
    ],
)
def test_dialects(tmp_path: Path, more: dict[str, Any], text: str, rows: list[dict[str, Any]]) -> None:
    assert read_rows(files, write(tmp_path, "a.csv", text) | more, tmp_path) == rows


def test_tabs_and_compression(tmp_path: Path) -> None:
    text = b"a\tb\n1\tx\n" * 1 + b"2\ty\n"
    zstd = pa.Codec("zstd").compress(text, asbytes=True)
    packed = {"a.tsv": text, "a.tsv.gz": gzip.compress(text), "a.tsv.bz2": bz2.compress(text), "a.tsv.zst": zstd}
    for name, data in packed.items():
        assert read_rows(files, write(tmp_path, name, data), tmp_path) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_batches_are_bounded_and_the_type_is_of_the_whole_file(tmp_path: Path) -> None:
    options = write(tmp_path, "a.csv", "a\n" + "1\n" * 2500 + "007\n")
    reader = files.__differ_iterator__.open(make_context(options, tmp_path, batch_rows=1000))
    batches = read_batches(reader)
    assert [batch.num_rows for batch in batches] == [1000, 1000, 501]
    assert read_types(files, options, tmp_path) == {"a": "string"}


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
ROWS = st.lists(st.lists(TEXT, min_size=3, max_size=3), max_size=30)


@given(ROWS, st.sampled_from([512, 1 << 20]), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_whatever_texts_come_back_however_they_are_cut(rows: list[list[str]], block: int, quoting: Any) -> None:
    """A row has at most 200 bytes; the smaller block cuts the file between and within rows."""
    file = io.StringIO()
    csv.writer(file, quoting=quoting).writerows([["a", "b", "c"], *rows])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_parser, "BLOCK_BYTES", block)
        options = write(Path(folder), "a.csv", file.getvalue()) | {"types": dict.fromkeys("abc", "string")}
        assert [list(row.values()) for row in read_rows(files, options, folder)] == rows


def test_rows_that_straddle_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_parser, "BLOCK_BYTES", 64)
    rows = [{"id": number, "b": f'{number},"\n' * (number % 3)} for number in range(200)]
    quoted = "".join('{},"{}"\n'.format(row["id"], str(row["b"]).replace('"', '""')) for row in rows)
    assert read_rows(files, write(tmp_path, "a.csv", "id,b\n" + quoted), tmp_path) == rows
    with pytest.raises(SourceError, match="a row is longer than"):
        read_rows(files, write(tmp_path, "b.csv", "id,b\n1," + "x" * 500 + "\n"), tmp_path)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('a,b\n1,2\n"x\ny",2\n\n3\n', "line 6: 1 fields where there should be 2"),
        ("a,b\n1,2\n1,2,SECRET\n", "line 3: 3 fields where there should be 2"),
        ('a,b\n1,2\n3,"SECRET\n4,5\n', "line 3: a quote is never closed"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        ("", "it is empty"),
        ("a,a\n1,2\n", "'a' is there twice"),
        ("a,\n1,2\n", "a column has no name"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, cause: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_rows(files, write(tmp_path, "a.csv", text), tmp_path)
    assert "a.csv" in caught.value.message
    assert cause in caught.value.message
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "bad"),
    [("int", "SECRET"), ("int", "1.5"), ("int8", "99999999999999999999"),
     ("decimal(4,1)", "1.55"), ("date", "2024-13-01"),
     ("timestamp", "soon"), ("bool", "maybe"), ("uuid", "123"), ("json", "{")],
)  # fmt: skip
def test_a_value_that_is_not_of_its_type_names_line_and_column(tmp_path: Path, type_: str, bad: str) -> None:
    options = write(tmp_path, "a.csv", f"id,b\n1,\n\n2,{bad}\n") | {"types": {"b": type_}}
    with pytest.raises(RecordError, match=r"a\.csv: line 4: column 'b'") as caught:
        read_rows(files, options, tmp_path)
    assert "SECRET" not in str(caught.value)


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1000) for i in range(5000)))
    with pytest.raises(SourceError, match=r"a\.csv\.gz"):
        read_rows(files, write(tmp_path, "a.csv.gz", packed[:-2000]), tmp_path)


def test_files_of_one_source_share_their_columns(tmp_path: Path) -> None:
    write(tmp_path, "1.csv", "a,b\n1,x\n")
    write(tmp_path, "2.csv", "b,a\ny,2\n")
    assert read_rows(files, {"path": "*.csv"}, tmp_path) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    write(tmp_path, "3.csv", "a\n1\n")
    with pytest.raises(SchemaDriftError, match=r"1\.csv and 3\.csv.*'b'"):
        read_rows(files, {"path": "*.csv"}, tmp_path)


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"delimitr": ";"}, "did you mean 'delimiter'"),
        ({"delimiter": "||"}, "one ASCII character"),
        ({"header": "yes"}, "true or false"),
        ({"header": False}, "column_names"),
        ({"types": {"a": "intt"}}, "intt"),
        ({"format": "xls"}, "parquet, csv or jsonl"),
        ({"column_names": ["a", "a"]}, "twice"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, more: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rows(files, write(tmp_path, "a.csv", "a\n1\n") | more, tmp_path)
    assert cause in str(caught.value)


def test_unknown_columns_name_the_nearest(tmp_path: Path) -> None:
    options = write(tmp_path, "a.csv", "order_id,b\n1,2\n") | {"columns": ["order_di"]}
    with pytest.raises(SourceError, match="order_id"):
        read_rows(files, options, tmp_path)


def test_a_cancelled_scan_stops(tmp_path: Path) -> None:
    cancelled = threading.Event()
    reader = files.__differ_iterator__.open(
        make_context(write(tmp_path, "a.csv", "a\n" + "1\n" * 100), tmp_path, batch_rows=10, cancelled=cancelled)
    )
    reader.schema()
    batches = iter(reader.read(reader.splits()[0]))
    next(batches)
    cancelled.set()
    with pytest.raises(InterruptedScanError):
        next(batches)
