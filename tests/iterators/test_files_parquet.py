"""Parquet: declared types, files that must agree, splits, checksums, and files that change under the scan."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from differ.errors import SchemaDriftError, SourceError
from differ.iterators.files import files, parquet
from tests.iterators.scans import make_context, read_batches, read_rows, read_types


def write(folder: Path, name: str, table: pa.Table, **more: Any) -> dict[str, Any]:
    pq.write_table(table, folder / name, **more)
    return {"path": name}


def test_types_come_from_the_footer(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int32()),
            "d": pa.array([None, "x"]).dictionary_encode(),
            "t": pa.array([0, 1], pa.timestamp("ms", "Europe/Berlin")),
            "n": pa.array([None, 1], pa.decimal128(10, 2)),
            "l": pa.array([[1], None], pa.list_(pa.int64())),
            "s": pa.array([{"a": 1}, None], pa.struct([("a", pa.int8())])),
            "u": pa.array([2**64 - 1, 0], pa.uint64()),
        }
    )
    options = write(tmp_path, "a.parquet", table)
    assert read_types(files, options, tmp_path) == {
        "id": "int32", "d": "string", "t": "timestamp[us,UTC]", "n": "decimal(10,2)", "l": "list<int64>",
        "s": "struct<a:int8>", "u": "decimal(20,0)",
    }  # fmt: skip
    rows = read_rows(files, options, tmp_path)
    assert [(row["id"], row["d"], row["l"], int(row["u"])) for row in rows] == [
        (1, None, [1], 2**64 - 1),
        (2, "x", None, 0),
    ]


def test_columns_excluded_and_chosen(tmp_path: Path) -> None:
    options = write(tmp_path, "a.parquet", pa.table({"a": [1], "b": [2], "c": [3]})) | {"columns": ["c", "b"]}
    assert list(read_types(files, options, tmp_path, columns_excluded=("b",))) == ["c"]
    assert read_rows(files, options, tmp_path) == [{"c": 3, "b": 2}]
    with pytest.raises(SourceError, match="no column 'd'"):
        read_rows(files, options | {"columns": ["d"]}, tmp_path)


def test_files_agree_whatever_order_width_and_nulls(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", pa.table({"id": pa.array([1], pa.int32()), "b": pa.array(["x"]), "n": pa.nulls(1)}))
    write(tmp_path, "2.parquet", pa.table({"n": [2.5], "b": pa.array(["y"], pa.large_string()), "id": [2**40]}))
    options = {"path": "*.parquet"}
    assert read_types(files, options, tmp_path) == {"id": "int64", "b": "string", "n": "float64"}
    assert read_rows(files, options, tmp_path) == [{"id": 1, "b": "x", "n": None}, {"id": 2**40, "b": "y", "n": 2.5}]


@pytest.mark.parametrize("other", [{"id": ["1"]}, {"id": [1], "more": [1]}, {"more": [1]}])
def test_files_that_do_not_agree_are_both_named(tmp_path: Path, other: dict[str, Any]) -> None:
    write(tmp_path, "1.parquet", pa.table({"id": [1]}))
    write(tmp_path, "2.parquet", pa.table(other))
    with pytest.raises(SchemaDriftError, match=r"1\.parquet and 2\.parquet.*'(id|more)'"):
        read_rows(files, {"path": "*.parquet"}, tmp_path)


def test_batches_are_bounded_and_splits_cover_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "SPLIT_BYTES", 10_000)
    options = write(tmp_path, "a.parquet", pa.table({"id": range(10_000)}), row_group_size=500)
    context = make_context(options, tmp_path, batch_rows=300)
    reader = files.__differ_iterator__.open(context)
    assert len(reader.splits()) > 3
    batches = read_batches(reader)
    assert max(batch.num_rows for batch in batches) <= 300
    assert [value for batch in batches for value in batch.column("id").to_pylist()] == list(range(10_000))
    assert context.expected_rows == 10_000


def test_many_tiny_row_groups_become_few_batches(tmp_path: Path) -> None:
    options = write(tmp_path, "a.parquet", pa.table({"id": range(1000)}), row_group_size=1)
    batches = read_batches(files.__differ_iterator__.open(make_context(options, tmp_path, batch_rows=400)))
    assert len(batches) <= 4


def test_an_empty_file_is_an_empty_source(tmp_path: Path) -> None:
    options = write(tmp_path, "a.parquet", pa.table({"id": pa.array([], pa.int64())}))
    assert read_rows(files, options, tmp_path) == []
    assert read_types(files, options, tmp_path) == {"id": "int64"}


def test_a_flipped_bit_is_never_served(tmp_path: Path) -> None:
    options = write(
        tmp_path,
        "a.parquet",
        pa.table({"id": range(1000)}),
        write_page_checksum=True,
        use_dictionary=False,
        compression="none",
    )
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[2000] ^= 1
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.parquet"):
        read_rows(files, options, tmp_path)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all, but long enough to look for a footer in it"])
def test_what_is_no_parquet_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.parquet"):
        read_rows(files, {"path": "a.parquet"}, tmp_path)


@pytest.mark.parametrize("change", ["replaced", "written", "removed", "joined"])
def test_a_change_in_mid_scan_fails_the_scan(tmp_path: Path, change: str) -> None:
    for name in ("1.parquet", "2.parquet"):
        write(tmp_path, name, pa.table({"id": [1]}))
    reader = files.__differ_iterator__.open(make_context({"path": "*.parquet"}, tmp_path))
    first, second = reader.splits()
    list(reader.read(first))
    match change:
        case "replaced":
            write(tmp_path, "new", pa.table({"id": [1]}))
            os.replace(tmp_path / "new", tmp_path / "1.parquet")
        case "written":
            (tmp_path / "1.parquet").write_bytes(b"PAR1 and more")
        case "removed":
            (tmp_path / "1.parquet").unlink()
        case "joined":
            write(tmp_path, "3.parquet", pa.table({"id": [1]}))
    with pytest.raises(SourceError, match=r"[13]\.parquet.*during the scan"):
        list(reader.read(second))
