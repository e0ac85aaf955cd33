"""Avro containers, read back by fastavro and by Apache's own reader."""

from __future__ import annotations

import io
import json
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import avro.datafile
import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import UsageError
from differ.formats.avro import write_avro
from differ.formats.avro_schema import avro_names, event_schema, record_schema
from differ.formats.batch import EventBatch
from differ.records import types as t
from differ.records.types import Column, LogicalType, Schema
from tests.formats import factory

_TIMES = LogicalType(kind="list", children=(("item", t.TIME),))
_PLACE = LogicalType(kind="struct", children=(("a-b", t.UUID), ("xs", _TIMES)))
_NANOS = LogicalType(kind="timestamp", unit="ns")
NESTED = factory.schema(
    "id",
    id=t.INT,
    codes=LogicalType(kind="map", children=(("key", t.INT), ("value", t.DATE))),
    moments=LogicalType(kind="list", children=(("item", _NANOS),)),
    deep=LogicalType(kind="list", children=(("item", _PLACE),)),
)


def _write(*batches: EventBatch, codec: Any = "deflate") -> bytes:
    out = io.BytesIO()
    count = write_avro(batches, out, codec=codec)
    assert count == sum(map(len, batches))
    return out.getvalue()


def _fastavro(body: bytes) -> list[Any]:
    return list(fastavro.reader(io.BytesIO(body)))


def _apache(body: bytes) -> list[Any]:
    with avro.datafile.DataFileReader(io.BytesIO(body), avro.io.DatumReader()) as reader:
        return list(reader)


@pytest.mark.parametrize("read", [_fastavro, _apache])
def test_both_readers_read_the_event_back(read: Any) -> None:
    events = [
        ("update", factory.order(7), factory.order(7, "shipped")),
        ("insert", None, factory.order(8, None)),
        ("delete", factory.order(9), None),
    ]
    update, insert, delete = read(_write(factory.batch(events)))
    assert update == {
        "stream": factory.STREAM,
        "scn": 41,
        "source": "orders",
        "op": "update",
        "key": {"order_id": 7},
        "before": {"order_id": 7, "status": "paid", "total": Decimal("19.90")},
        "after": {"order_id": 7, "status": "shipped", "total": Decimal("19.90")},
        "changed": ["status"],
        "cycle": 3,
        "window": {"first": 41, "last": 43},
        "schema": 2,
        "seen_unchanged_at": factory.SEEN,
        "detected_at": factory.DETECTED,
        "baseline": False,
    }
    assert (insert["before"], insert["after"]["status"]) == (None, None)
    assert (delete["after"], delete["op"], delete["scn"]) == (None, "delete", 43)


@pytest.mark.filterwarnings("ignore::avro.errors.IgnoredLogicalType")
@pytest.mark.parametrize("read", [_fastavro, _apache])
def test_every_type_is_read_back_without_loss(read: Any) -> None:
    batch = factory.batch([("insert", None, factory.FULL_ROW), ("insert", None, factory.NULL_ROW)], factory.EVERY_TYPE)
    full, nulls = (event["after"] for event in read(_write(batch)))
    assert json.loads(full.pop("document")) == factory.FULL_ROW["document"]
    uid = full.pop("uid")
    assert uuid.UUID(str(uid)) == factory.FULL_ROW["uid"]
    local = full.pop("local")
    assert _micros(local) == _micros(factory.FULL_ROW["local"])
    expected = {name: factory.FULL_ROW[name] for name in full}
    expected |= {"took": -86_399_999_995, "labels": dict(factory.FULL_ROW["labels"])}
    assert full == expected
    assert nulls == factory.NULL_ROW


def _micros(value: Any) -> int:
    """A local timestamp as microseconds, whether the reader knows the logical type or gives the bare number."""
    if isinstance(value, int):
        return value
    moment = value.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)


def test_nested_types_are_read_back_also_from_a_slice() -> None:
    ids = [uuid.UUID(int=n) for n in range(3)]
    rows = [
        {
            "id": n,
            "codes": [(n, date(2026, 1, 1 + n)), (n + 1, None)],
            "moments": [1_763_892_300_123_456_789 + n, None],
            "deep": [{"a-b": ids[n].bytes, "xs": [time(1, 2, 3, 4), None]}, None],
        }
        for n in range(3)
    ]
    rows[2] |= {"codes": None, "moments": [], "deep": None}
    batch = factory.batch([("insert", None, row) for row in rows], NESTED).slice(1)
    one, two = (event["after"] for event in _fastavro(_write(batch)))
    assert one == {
        "id": 1,
        "codes": [{"key": 1, "value": date(2026, 1, 2)}, {"key": 2, "value": None}],
        "moments": [1_763_892_300_123_456_790, None],
        "deep": [{"a_b": ids[1], "xs": [time(1, 2, 3, 4), None]}, None],
    }
    assert two == {"id": 2, "codes": None, "moments": [], "deep": None}


def test_names_that_avro_does_not_know_keep_the_original_beside() -> None:
    schema = Schema(
        columns=tuple(Column(name=name, type=t.INT) for name in ("a b", "a_b", "a-b", "1st", "größe")), key=("a b",)
    )
    row = {name: n for n, name in enumerate(schema.names)}
    (event,) = _fastavro(_write(factory.batch([("insert", None, row)], schema, source="my orders")))
    assert event["after"] == {"a_b_2": 0, "a_b": 1, "a_b_3": 2, "_1st": 3, "gr__e": 4}
    fields = record_schema(schema)["fields"]
    assert {field["name"]: field["differ.name"] for field in fields} == {
        "a_b_2": "a b", "a_b": "a_b", "a_b_3": "a-b", "_1st": "1st", "gr__e": "größe",
    }  # fmt: skip
    assert event_schema("my orders", schema)["namespace"] == "differ.my_orders"


@given(st.lists(st.text(max_size=4), unique=True, max_size=8))
def test_avro_names_are_valid_and_distinct(names: list[str]) -> None:
    chosen = avro_names(names)
    assert list(chosen) == names
    assert len(set(chosen.values())) == len(names)
    assert all(avro.schema.Name(name, validate_name=True) for name in map(str, chosen.values()))


@pytest.mark.filterwarnings("ignore::avro.errors.IgnoredLogicalType")
def test_the_schema_names_logical_types() -> None:
    fields = {field["differ.name"]: field for field in record_schema(factory.EVERY_TYPE)["fields"]}
    assert fields["price"]["type"][1] == {
        "type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 3,
    }  # fmt: skip
    assert fields["instant"]["type"][1]["logicalType"] == "timestamp-micros"
    assert fields["local"]["type"][1]["logicalType"] == "local-timestamp-micros"
    assert fields["nanos"]["type"][1]["logicalType"] == "timestamp-nanos"
    assert fields["number"] | {"type": fields["number"]["type"][1]} == {
        "name": "number", "type": "string", "default": None, "differ.name": "number", "differ.type": "decimal",
    }  # fmt: skip
    avro.schema.parse(json.dumps(record_schema(factory.EVERY_TYPE)))


def test_a_negative_scale_is_text() -> None:
    schema = factory.schema("id", id=t.INT, big=LogicalType(kind="decimal", precision=5, scale=-2))
    (event,) = _fastavro(_write(factory.batch([("insert", None, {"id": 1, "big": Decimal("12300")})], schema)))
    assert event["after"]["big"] == "12300"


def test_before_and_after_of_different_schemas() -> None:
    old = factory.schema("order_id", order_id=t.INT, status=t.STRING)
    before = {"order_id": 1, "status": "paid"}
    batch = factory.batch([("update", before, factory.order(1))], before_schema=old)
    for read in (_fastavro, _apache):
        (event,) = read(_write(batch))
        assert event["before"] == before
        assert event["after"]["total"] == Decimal("19.90")


def test_a_new_schema_or_source_ends_the_container_and_leaves_it_readable() -> None:
    first = factory.batch([("insert", None, factory.order(1))])
    for second, cause in (
        (factory.batch([("insert", None, factory.order(2))], first_scn=42, schema_id=3), "schema"),
        (factory.batch([("insert", None, factory.order(2))], first_scn=42, source="items"), "source"),
    ):
        out = io.BytesIO()
        with pytest.raises(UsageError, match=f"one file holds one {cause}.*SCN 42|SCN 42.*") as error:
            write_avro([first, first, second], out)
        assert error.value.hint
        assert len(_fastavro(out.getvalue())) == 2


def test_no_events_write_nothing() -> None:
    assert _write() == b""


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_codecs(codec: str) -> None:
    body = _write(factory.batch([("insert", None, factory.order(n)) for n in range(5_000)]), codec=codec)
    assert [event["key"]["order_id"] for event in _fastavro(body)] == list(range(5_000))
