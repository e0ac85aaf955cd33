"""All forms of an event say the same, whatever the values are."""

from __future__ import annotations

import base64
import io
import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from differ.formats import debezium
from differ.formats.arrow import write_stream
from differ.formats.avro import write_avro
from differ.formats.batch import EventBatch
from differ.formats.cloudevents import cloud_events
from differ.formats.events import change_events
from differ.formats.ndjson import event_lines
from differ.records import types as t
from differ.records.types import LogicalType
from tests.formats import factory

SCHEMA = factory.schema(
    "id",
    id=t.INT,
    x=t.FLOAT,
    price=LogicalType(kind="decimal", precision=12, scale=3),
    name=t.STRING,
    raw=t.BYTES,
    at=t.TIMESTAMP_UTC,
    tags=LogicalType(kind="list", children=(("item", t.STRING),)),
)
ROWS = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "x": st.none() | st.floats(),
        "price": st.none() | st.decimals(-(10**30), 10**30, places=3).map(lambda number: number + 0),
        "name": st.none() | st.text(st.characters(codec="utf-8")),
        "raw": st.none() | st.binary(),
        "at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "tags": st.none() | st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=3), max_size=3),
    }
)
EVENTS = st.lists(
    ROWS.map(lambda row: ("insert", None, row))
    | ROWS.map(lambda row: ("delete", row, None))
    | st.tuples(ROWS, ROWS).map(lambda pair: ("update", pair[0], pair[1] | {"id": pair[0]["id"]})),
    min_size=1,
    max_size=4,
)


@given(EVENTS)
def test_all_forms_give_back_the_rows_that_went_in(events: list[factory.Event]) -> None:
    batch = factory.batch(events, SCHEMA)
    expected = [(op, _comparable(before), _comparable(after)) for op, before, after in events]
    for read in (_objects, _ndjson, _avro, _arrow):
        found = [(event["op"], _comparable(event["before"]), _comparable(event["after"])) for event in read(batch)]
        assert found == expected, read.__name__


def _comparable(row: Any) -> Any:
    """A row in which NaN equals NaN."""
    if row is None:
        return None
    x = row["x"]
    return dict(row) | {"x": "NaN" if isinstance(x, float) and math.isnan(x) else x}


def _objects(batch: EventBatch) -> list[Any]:
    return [{"op": event.op, "before": event.before, "after": event.after} for event in change_events(batch)]


def _ndjson(batch: EventBatch) -> list[Any]:
    return [
        event | {"before": _from_json(event["before"]), "after": _from_json(event["after"])}
        for event in map(json.loads, event_lines(batch))
    ]


def _from_json(row: Any) -> Any:
    """What a reader who knows the column types makes of a row."""
    if row is None:
        return None
    read = {
        "x": float,
        "price": Decimal,
        "raw": base64.b64decode,
        "at": datetime.fromisoformat,
    }
    return {name: read[name](value) if name in read and value is not None else value for name, value in row.items()}


def _avro(batch: EventBatch) -> list[Any]:
    out = io.BytesIO()
    write_avro([batch], out, codec="null")
    return list(fastavro.reader(io.BytesIO(out.getvalue())))


def _arrow(batch: EventBatch) -> list[Any]:
    out = io.BytesIO()
    write_stream([batch], out)
    table = pa.ipc.open_stream(out.getvalue()).read_all()
    return table.select(["op", "before", "after"]).to_pylist()


def test_keys_that_differ_in_nothing_but_their_bson_type_differ_in_every_form() -> None:
    schema = factory.schema("_id", _id=t.JSON)
    oid = "65f000000000000000000001"
    ids = [{"$numberInt": "7"}, {"$numberLong": "7"}, {"$numberDouble": "7.0"}, {"$numberDecimal": "7"}, "7"]
    ids += [{"$oid": oid}, {"$document": {"$oid": oid}}, {"$document": {"$oid": {"$oid": oid}}}]
    batch = factory.batch([("insert", None, {"_id": value}) for value in ids], schema)
    ndjson = [json.dumps(json.loads(line)["key"]) for line in event_lines(batch)]
    clouds = list(cloud_events(batch))
    for keys in (
        ndjson,
        [key for key, _ in debezium.messages(batch)],
        [event["subject"] for event in clouds],
        [event["partitionkey"] for event in clouds],
    ):
        assert len(set(keys)) == len(ids)
    assert ndjson[:3] == ['{"_id": 7}', '{"_id": {"$numberLong": "7"}}', '{"_id": 7.0}']
