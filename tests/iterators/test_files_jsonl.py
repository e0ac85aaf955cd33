"""JSON Lines, as rows and as documents, and where files lie: globs, fsspec, folders, nothing at all."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import ConfigError, RecordError, SourceError
from differ.iterators.files import files
from differ.iterators.files.json_text import exact_number
from tests.iterators.scans import make_context, read_batches, read_rows, read_types


def write(folder: Path, name: str, *lines: Any) -> dict[str, Any]:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / name).write_text(text)
    return {"path": name}


@pytest.mark.parametrize(
    ("values", "type_", "result"),
    [
        (["1", "null"], "int64", [1, None]),
        (["1", "9223372036854775808"], "decimal", [Decimal(1), Decimal(2**63)]),
        (["1", "1.5"], "float64", [1.0, 1.5]),
        (["9007199254740993", "1.5"], "decimal", [Decimal(9007199254740993), Decimal("1.5")]),
        (["0.1", "1e3", "1.50"], "float64", [0.1, 1000.0, 1.5]),
        (["0.1", "0.1000000000000000055511"], "decimal", [Decimal("0.1"), Decimal("0.1000000000000000055511")]),
        (["1e400"], "decimal", [Decimal("1e400")]),
        (["true", "false"], "bool", [True, False]),
        (['"007"', '"2024-01-01"'], "string", ["007", "2024-01-01"]),
        (["true", "1"], "json", [True, 1]),
        (["1", '"1"'], "json", [1, "1"]),
        (['{"a":[1,2.5]}', "null"], "json", [{"a": [1, 2.5]}, None]),
        (["null"], "string", [None]),
    ],
)
def test_types_are_exact(tmp_path: Path, values: list[str], type_: str, result: list[Any]) -> None:
    options = write(tmp_path, "a.jsonl", *[f'{{"v":{value}}}' for value in values])
    assert read_types(files, options, tmp_path) == {"v": type_}
    assert [row["v"] for row in read_rows(files, options, tmp_path)] == result


@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.decimals(allow_nan=False, allow_infinity=False).map(str),
    )
)
def test_a_number_is_never_another_one(text: str) -> None:
    number = exact_number(text)
    assert Decimal(repr(number) if isinstance(number, float) else number) == Decimal(text)


def test_lines_may_lack_names_and_be_blank(tmp_path: Path) -> None:
    options = write(tmp_path, "a.jsonl", {"id": 1}, "", {"id": 2, "b": "x"}, "  ")
    assert read_rows(files, options, tmp_path) == [{"id": 1, "b": None}, {"id": 2, "b": "x"}]


def test_nested_order_means_nothing(tmp_path: Path) -> None:
    options = write(tmp_path, "a.jsonl", '{"v":{"a":1,"b":2}}', '{"v":{"b":2,"a":1}}')
    (batch,) = read_batches(files.__differ_iterator__.open(make_context(options, tmp_path)))
    assert len(set(batch.column("v").to_pylist())) == 1


def test_configured_types_and_columns(tmp_path: Path) -> None:
    options = write(tmp_path, "a.jsonl", {"id": 1, "day": "2024-02-29", "total": "1.50", "x": 1}) | {
        "columns": ["id", "day", "total"],
        "types": {"id": "int", "day": "date", "total": "decimal(10,2)"},
    }
    assert read_types(files, options, tmp_path) == {"id": "int64", "day": "date", "total": "decimal(10,2)"}
    (row,) = read_rows(files, options, tmp_path)
    assert (str(row["day"]), row["total"]) == ("2024-02-29", Decimal("1.50"))
    write(tmp_path, "a.jsonl", "")
    assert read_rows(files, options, tmp_path) == []


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("[1]", "no object"),
        ('{"a":SECRET}', "not JSON"),
        ('{"a":"SECRET', "not JSON"),
        ('{"a":NaN}', "NaN is not JSON"),
        ('{"a":1,"a":2}', "'a' is there twice"),
        ('{"b":{"a":1,"a":2}}', "'a' is there twice"),
        ('{"a":"\\ud800"}', "no string"),
        ("[" * 100_000, "deeper than 200 levels"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"document": True}])
def test_a_bad_line_is_named_and_not_shown(tmp_path: Path, line: str, cause: str, more: dict[str, Any]) -> None:
    options = write(tmp_path, "a.jsonl", {"_id": 1, "a": "x"}, "", line.replace("{", '{"_id":2,', 1)) | more
    if "ud800" in line and more:
        cause = "lone surrogate"
    with pytest.raises(RecordError) as caught:
        read_rows(files, options, tmp_path)
    assert cause in caught.value.message
    assert "SECRET" not in str(caught.value)
    if cause != "lone surrogate":
        assert "a.jsonl: line 3" in caught.value.message


def test_a_value_of_another_type_than_configured_names_its_line(tmp_path: Path) -> None:
    options = write(tmp_path, "a.jsonl", {"a": 1}, {"a": "SECRET"}) | {"types": {"a": "int"}}
    with pytest.raises(RecordError, match=r"line 2: the value of 'a' is no int64") as caught:
        read_rows(files, options, tmp_path)
    assert "SECRET" not in str(caught.value)


def test_documents_keep_their_types(tmp_path: Path) -> None:
    options = write(
        tmp_path,
        "customers.jsonl",
        '{"_id":{"$oid":"65f000000000000000000001"},"n":{"$numberLong":"7"},"z":{"b":1,"a":null},"d":{"$date":{"$numberLong":"-62167219200001"}}}',
        '{"n":7,"_id":"x","p":{"$numberDecimal":"1.50"},"when":{"$date":"2024-02-29T10:00:00Z"},"f":1.0}',
    ) | {"document": True}
    assert read_types(files, options, tmp_path) == {"_id": "json", "document": "json"}
    first, second = read_rows(files, options, tmp_path)
    assert first["_id"] == ObjectId("65f000000000000000000001")
    assert isinstance(first["document"]["n"], Int64)
    assert list(first["document"]["z"]) == ["b", "a"]
    assert first["document"]["d"] == DatetimeMS(-62167219200001)
    assert (second["_id"], second["document"]["p"], type(second["document"]["n"])) == ("x", Decimal128("1.5"), int)
    assert isinstance(second["document"]["f"], float)


def test_documents_are_equal_whatever_the_order_of_their_names(tmp_path: Path) -> None:
    texts = []
    for line in (
        '{"_id":1,"a":1,"b":{"x":1,"y":2}}',
        '{"b":{"x":1,"y":2},"_id":1,"a":1}',
        '{"_id":1,"a":1,"b":{"y":2,"x":1}}',
    ):
        options = write(tmp_path, "a.jsonl", line) | {"document": True}
        (batch,) = read_batches(files.__differ_iterator__.open(make_context(options, tmp_path)))
        texts.append(batch.column("document")[0].as_py())
    assert texts[0] == texts[1] != texts[2]


def test_documents_by_another_key(tmp_path: Path) -> None:
    options = write(tmp_path, "a.jsonl", {"_id": 1, "sku": {"code": "x"}}, {"_id": 2}) | {"document": True}
    reader = files.__differ_iterator__.open(make_context(options, tmp_path, key=("sku.code",)))
    (batch,) = read_batches(reader)
    assert (reader.key, batch.column("sku.code").to_pylist()) == (("sku.code",), ['"x"', None])


def test_an_embedded_id_keeps_its_order(tmp_path: Path) -> None:
    options = write(tmp_path, "a.jsonl", '{"_id":{"a":1,"b":2}}', '{"_id":{"b":2,"a":1}}') | {"document": True}
    (batch,) = read_batches(files.__differ_iterator__.open(make_context(options, tmp_path)))
    assert len(set(batch.column("_id").to_pylist())) == 2


@pytest.mark.parametrize("line", ["{}", '{"_id":{"$oid":"no"}}', '{"_id":{"$numberLong":"x"}}'])
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(RecordError, match=r"a\.jsonl: line 1"):
        read_rows(files, write(tmp_path, "a.jsonl", line) | {"document": True}, tmp_path)


# Where files lie.


def test_lists_and_globs_name_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "sub/2.jsonl", {"id": 2})
    write(tmp_path, "1.jsonl", {"id": 1})
    write(tmp_path, "[3].jsonl", {"id": 3})
    for path in (["1.jsonl", "**/*.jsonl"], "**/*.jsonl", ["[3].jsonl", "1.jsonl", str(tmp_path / "sub/2.jsonl")]):
        assert {row["id"] for row in read_rows(files, {"path": path}, tmp_path)} == {1, 2, 3}
        assert len(read_rows(files, {"path": path}, tmp_path)) == 3


def test_memory_and_its_changes(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    system.pipe_file("/differ-test/a.jsonl", b'{"id":1}\n')
    system.pipe_file("/differ-test/b.csv", b"id\n1\n")
    try:
        options = {"path": "memory://differ-test/*.jsonl"}
        assert read_rows(files, options) == [{"id": 1}]
        assert read_rows(files, {"path": "memory://differ-test/b.csv"}) == [{"id": 1}]
        reader = files.__differ_iterator__.open(make_context(options))
        batches = iter(reader.read(reader.splits()[0]))
        next(batches)
        system.pipe_file("/differ-test/a.jsonl", b'{"id":2}\n')
        with pytest.raises(SourceError, match="during the scan"):
            next(batches)
    finally:
        system.rm("/differ-test", recursive=True)


@pytest.mark.parametrize(
    ("options", "error", "cause"),
    [
        ({"path": "no.csv"}, SourceError, "no file matches"),
        ({"path": "*.nope"}, SourceError, "no file matches"),
        ({"path": "memory://differ-none/*.csv"}, SourceError, "no file matches"),
        ({"path": "."}, SourceError, "it is a folder"),
        ({"path": ""}, ConfigError, "'path'"),
        ({}, ConfigError, "'path'"),
        ({"path": 7}, ConfigError, "'path'"),
        ({"path": ["a.csv", "b.jsonl"]}, ConfigError, "several formats"),
        ({"path": "a.txt"}, ConfigError, "the suffix does not tell"),
        ({"path": "nosuchscheme://x/a.csv"}, ConfigError, "nosuchscheme"),
        ({"path": "b.jsonl", "types": {"id": "int"}, "document": True}, ConfigError, "document"),
        ({"path": "e.jsonl"}, SourceError, "no line to tell"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], cause: str
) -> None:
    for name in ("a.csv", "b.jsonl", "a.txt"):
        write(tmp_path, name, {"id": 1})
    write(tmp_path, "e.jsonl")
    with pytest.raises(error) as caught:
        read_rows(files, options, tmp_path)
    assert cause in str(caught.value)


@pytest.mark.parametrize("depth", [250, 500, 20_000])
@pytest.mark.parametrize("more", [{}, {"document": True}], ids=["rows", "documents"])
def test_a_value_nested_deeper_than_the_limit_is_said_in_one_way(
    tmp_path: Path, depth: int, more: dict[str, Any]
) -> None:
    options = write(tmp_path, "a.jsonl", f'{{"_id":1,"v":{"[" * depth}{"]" * depth}}}') | more
    with pytest.raises(RecordError, match="a value is nested deeper than 200 levels"):
        read_rows(files, options, tmp_path)
