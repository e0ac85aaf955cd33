"""The `files` sink: the shared suite, and what lies in the folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from differ.errors import SinkUnavailableError
from differ.records.types import stored_type
from differ.records.values import python_column
from differ.sinks.contract import Document
from differ.sinks.files import FilesSink
from differ.sinks.plain import plain_document
from differ.testing.feed import NESTED, Feed
from differ.testing.sinks import EventSinkConformance
from tests.cycle.world import numbered
from tests.sinks.feeding import made
from tests.sinks.rig import Rig


def found(folder: Path, extension: str) -> list[Path]:
    """All data files in the order in which a reader takes them: bootstraps first, then events by SCN."""
    return sorted(folder.glob(f"*/bootstrap-*/*/*.{extension}")) + sorted(folder.glob(f"*/events/*/*.{extension}"))


class TestParquet(EventSinkConformance):
    """Read by pyarrow; nested and exact values through the logical types that the columns carry."""

    sink = FilesSink
    replays_once = True
    format = "parquet"

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        return {"folder": str(folder / "out"), "format": self.format}

    def read(self, options: Mapping[str, Any]) -> Sequence[tuple[str, Any, Any]]:
        rows: list[tuple[str, Any, Any]] = []
        for path in found(Path(options["folder"]), "parquet"):
            table = pq.read_table(path)
            document = table["document"].combine_chunks()
            columns = [
                python_column(column, stored_type(field) or _plain(field))
                for column, field in zip(document.flatten(), document.type, strict=True)
            ]
            names = [field.name for field in document.type]
            for op, key, valid, *values in zip(
                table["op"].to_pylist(),
                table["key"].to_pylist(),
                document.is_valid().to_pylist(),
                *columns,
                strict=True,
            ):
                made = dict(zip(names, values, strict=True)) if valid else None
                rows.append((op, key["id"], made))
        return rows


class TestNDJSON(TestParquet):
    """Read as JSON lines."""

    format = "ndjson"

    def read(self, options: Mapping[str, Any]) -> Sequence[tuple[str, Any, Any]]:
        files = found(Path(options["folder"]), "ndjson")
        lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
        return [(line["op"], line["key"]["id"], line["document"]) for line in lines]

    def shown(self, document: Document) -> Any:
        return plain_document(document, NESTED)


def _plain(field: pa.Field) -> Any:
    raise AssertionError(f"{field.name} carries no logical type")


def test_a_file_for_each_window_named_by_its_scns(rig: Rig) -> None:
    rig.world.commit("orders", numbered("a", "b"))
    sink = rig.sink(kind="files", options={"folder": "out"}, start="oldest")
    runner = rig.start(sink)
    rig.world.commit("orders", numbered("a", "c", "d"))
    rig.until_head(runner)
    folder = rig.world.folder / "out"
    names = [path.relative_to(folder).parts[1:] for path in found(folder, "parquet")]
    assert names == [
        ("events", "orders", f"{1:020}-{2:020}.parquet"),
        ("events", "orders", f"{3:020}-{4:020}.parquet"),
    ]
    rows = duckdb.sql(f"SELECT scn, op, document.v FROM '{folder}/*/events/*/*.parquet' ORDER BY scn").fetchall()
    assert rows == [(1, "insert", "a"), (2, "insert", "b"), (3, "update", "c"), (4, "insert", "d")]


def test_what_a_crash_left_behind_the_checkpoint_goes(tmp_path: Path) -> None:
    """Other bounds in the replay than before the crash: no event is in two files."""
    feed = Feed()
    changes = [feed.put(key) for key in range(1, 7)]
    sink = made(FilesSink, tmp_path, {"folder": "out"})
    sink.open()
    sink.publish(changes[:2], feed.checkpoint(2))
    sink.publish(changes[2:5], None)
    again = made(FilesSink, tmp_path, {"folder": "out"})
    again.open()
    assert again.load() == feed.checkpoint(2)
    again.publish(changes[2:4], None)
    again.publish(changes[2:6], None)  # an attempt that is made again by the same process, further
    again.publish([], feed.checkpoint(6))
    scns = [scn for path in found(tmp_path / "out", "parquet") for scn in pq.read_table(path)["scn"].to_pylist()]
    assert scns == [1, 2, 3, 4, 5, 6]


def test_pages_of_a_bootstrap_that_come_again_are_there_once(tmp_path: Path) -> None:
    feed = Feed()
    for key in range(1, 10):
        feed.put(key)
    generation = feed.generation()
    pages = list(feed.pages(generation, 3))
    sink = made(FilesSink, tmp_path, {"folder": "out"})
    sink.open()
    sink.begin_bootstrap(generation)
    sink.publish_bootstrap(*pages[0])
    sink.publish_bootstrap(pages[1][0], None)
    sink.publish_bootstrap(pages[1][0], None)
    again = made(FilesSink, tmp_path, {"folder": "out"})
    again.open()
    assert again.load() == pages[0][1]
    again.begin_bootstrap(generation)
    assert not list(tmp_path.glob("out/*/bootstrap-*")), "nobody sees half a bootstrap"
    for page in pages[1:]:
        again.publish_bootstrap(*page)
    again.end_bootstrap(generation, feed.checkpoint())
    again.end_bootstrap(generation, feed.checkpoint())
    keys = [row["id"] for path in found(tmp_path / "out", "parquet") for row in pq.read_table(path)["key"].to_pylist()]
    assert keys == list(range(1, 10))


def test_a_crash_in_the_middle_of_a_bootstrap_keeps_the_events_before_it(tmp_path: Path) -> None:
    feed = Feed()
    sink = made(FilesSink, tmp_path, {"folder": "out"})
    sink.open()
    sink.publish([feed.put(key) for key in range(1, 4)], feed.checkpoint())
    feed.put(4)
    generation = feed.generation()
    pages = list(feed.pages(generation, 2))
    sink.begin_bootstrap(generation)
    sink.publish_bootstrap(*pages[0])
    events = list(tmp_path.glob("out/*/events/*/*"))
    assert len(events) == 3
    again = made(FilesSink, tmp_path, {"folder": "out"})
    again.open()
    again.begin_bootstrap(generation)
    again.publish_bootstrap(*pages[1])
    again.end_bootstrap(generation, feed.checkpoint())
    assert list(tmp_path.glob("out/*/events/*/*")) == events


def test_events_that_a_restored_backup_never_had_go(tmp_path: Path) -> None:
    """The stream stays, its SCNs come again: no reader may find two events of one SCN."""
    feed = Feed()
    changes = [feed.put(key) for key in range(1, 7)]
    sink = made(FilesSink, tmp_path, {"folder": "out"})
    sink.open()
    sink.publish(changes[:2], feed.checkpoint(2))
    sink.publish(changes[2:6], feed.checkpoint(6))
    feed.scn, feed.rows = 4, {key: feed.rows[key] for key in range(1, 5)}
    generation = feed.generation()
    sink.begin_bootstrap(generation)
    sink.publish_bootstrap(*next(feed.pages(generation, 1)))
    sink.end_bootstrap(generation, feed.checkpoint())
    query = f"SELECT scn, key.id FROM '{tmp_path}/out/*/events/*/*.parquet' ORDER BY scn"
    assert duckdb.sql(query).fetchall() == [(1, 1), (2, 2), (3, 3), (4, 4)]
    sink.publish([feed.put(9)], feed.checkpoint())
    assert duckdb.sql(query).fetchall() == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 9)]


def test_a_folder_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    sink = made(FilesSink, tmp_path, {"folder": "out"})
    feed = Feed()
    with pytest.raises(SinkUnavailableError, match="sink shop"):
        sink.open()
    (tmp_path / "out").unlink()
    sink.open()
    sink.publish([feed.put(1)], feed.checkpoint())
    assert len(found(tmp_path / "out", "parquet")) == 1
