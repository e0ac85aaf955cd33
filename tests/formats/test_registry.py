"""The table of formats: each of them writes, and says what it is."""

from __future__ import annotations

import io
import json

import fastavro
import pyarrow as pa
import pytest

from differ.errors import UsageError
from differ.formats.registry import FORMATS, event_format
from tests.formats import factory

READERS = {
    "ndjson": lambda body: [json.loads(line)["scn"] for line in body.splitlines()],
    "debezium": lambda body: [json.loads(line)["source"]["scn"] for line in body.splitlines()],
    "cloudevents": lambda body: [json.loads(line)["data"]["scn"] for line in body.splitlines()],
    "avro": lambda body: [event["scn"] for event in fastavro.reader(io.BytesIO(body))],
    "arrow": lambda body: pa.ipc.open_stream(body).read_all()["scn"].to_pylist(),
}


def test_the_documented_formats_are_there() -> None:
    assert set(FORMATS) == set(READERS)
    assert len({one.extension for one in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize("name", READERS)
def test_a_format_writes_all_events_and_counts_them(name: str) -> None:
    batches = [factory.batch([("insert", None, factory.order(n))] * 2, first_scn=n) for n in (1, 3)]
    out = io.BytesIO()
    assert event_format(name).write(iter(batches), out) == 4
    assert READERS[name](out.getvalue()) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", READERS)
def test_a_format_of_one_run_refuses_a_second_source_and_others_take_it(name: str) -> None:
    batches = [
        factory.batch([("insert", None, factory.order(1))], first_scn=n, source=source)
        for n, source in enumerate(("orders", "items"), 1)
    ]
    out = io.BytesIO()
    if event_format(name).one_run:
        with pytest.raises(UsageError, match="'items'"):
            event_format(name).write(batches, out)
        assert READERS[name](out.getvalue()) == [1]
    else:
        assert event_format(name).write(batches, out) == 2


def test_an_unknown_format_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="'csv'") as error:
        event_format("csv")
    assert "ndjson" in (error.value.hint or "")


@pytest.mark.parametrize("name", READERS)
def test_a_batch_without_events_is_no_trouble(name: str) -> None:
    empty = factory.batch([("insert", None, factory.FULL_ROW)], factory.EVERY_TYPE).slice(0, 0)
    out = io.BytesIO()
    assert event_format(name).write([empty, empty], out) == 0
    assert READERS[name](out.getvalue()) == []
