"""Arrow streams: columns as stored, one source and one schema each."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pytest

from differ.errors import UsageError
from differ.formats.arrow import arrow_schema_json, event_table, write_stream
from differ.formats.batch import EventBatch
from differ.formats.runs import runs
from differ.records.types import Schema, stored_type
from tests.formats import factory


def _stream(*batches: EventBatch) -> pa.Table:
    out = io.BytesIO()
    assert write_stream(batches, out) == sum(map(len, batches))
    return pa.ipc.open_stream(out.getvalue()).read_all()


def test_a_stream_gives_back_every_column() -> None:
    events = [("update", factory.order(7), factory.order(7, "shipped")), ("delete", factory.order(8), None)]
    table = _stream(factory.batch(events), factory.batch(events, first_scn=60, seen=None, baseline=True))
    assert table.column_names == [
        "scn", "source", "op", "key", "before", "after", "changed", "cycle", "window_first", "window_last", "schema",
        "seen_unchanged_at", "detected_at", "baseline",
    ]  # fmt: skip
    assert table["scn"].to_pylist() == [41, 42, 60, 61]
    assert table["op"].to_pylist() == ["update", "delete"] * 2
    assert table["changed"].to_pylist()[0] == ["status"]
    assert table["after"].to_pylist()[:2] == [factory.order(7, "shipped"), None]
    assert table["seen_unchanged_at"].to_pylist() == [factory.SEEN, factory.SEEN, None, None]
    assert table["detected_at"].to_pylist()[3] == factory.DETECTED
    assert table["baseline"].to_pylist() == [False, False, True, True]
    assert table.schema.metadata == {
        b"differ.stream": factory.STREAM.encode(), b"differ.source": b"orders", b"differ.schema": b"2",
    }  # fmt: skip


def test_images_are_stored_values_and_tell_their_logical_types() -> None:
    batch = factory.batch([("insert", None, factory.FULL_ROW)], factory.EVERY_TYPE)
    after = _stream(batch)["after"].chunk(0)
    assert after.equals(batch.images("after"))
    found = {field.name: stored_type(field) for field in after.type}
    assert found == factory.EVERY_TYPE.types


def test_a_table_of_a_slice_holds_the_slice() -> None:
    events = [("insert", None, factory.order(n)) for n in range(10)]
    table = event_table(factory.batch(events).slice(4, 3))
    assert table["scn"].to_pylist() == [45, 46, 47]
    assert [row["order_id"] for row in table["key"].to_pylist()] == [4, 5, 6]


def test_a_stream_ends_where_the_schema_changes_and_can_be_read() -> None:
    first = factory.batch([("insert", None, factory.order(1))])
    later = factory.batch([("insert", None, factory.order(2))], first_scn=42, schema_id=3)
    out = io.BytesIO()
    with pytest.raises(UsageError, match="SCN 42") as error:
        write_stream([first, later], out)
    assert "--since 41" in (error.value.hint or "")
    assert pa.ipc.open_stream(out.getvalue()).read_all()["scn"].to_pylist() == [41]


def test_nothing_is_written_for_no_events() -> None:
    out = io.BytesIO()
    assert write_stream([], out) == 0
    assert out.getvalue() == b""


def test_runs_hold_all_batches_in_order() -> None:
    row = ("insert", None, factory.order(1))
    batches = [
        factory.batch([row], first_scn=1),
        factory.batch([row], first_scn=2),
        factory.batch([row], first_scn=3, source="items"),
        factory.batch([row], first_scn=4),
        factory.batch([row], first_scn=5, schema_id=3),
    ]
    assert [[batch.first_scn for batch in run] for run in runs(batches)] == [[1, 2], [3], [4], [5]]


def test_the_schema_as_json_is_enough_to_build_it_again() -> None:
    body = json.loads(json.dumps(arrow_schema_json(factory.EVERY_TYPE)))
    columns = [{"name": field["name"], "type": field["type"]} for field in body["fields"]]
    assert Schema.from_json({"columns": columns, "key": body["key"]}) == factory.EVERY_TYPE
    assert next(field["arrow"] for field in body["fields"] if field["name"] == "price") == "decimal128(38, 3)"
