"""CloudEvents 1.0: against the rules of its JSON schema, and read by the project's own library."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator

from differ.formats.cloudevents import cloud_events, event_lines
from differ.formats.ndjson import event_objects
from tests.formats import factory

_TEXT = {"type": "string", "minLength": 1}
# The rules of the specification's JSON schema (formats/cloudevents.json), with those of section "Naming conventions"
# and "Type system" for extension attributes.
CLOUD_EVENT = {
    "type": "object",
    "required": ["id", "source", "specversion", "type"],
    "properties": {
        "id": _TEXT,
        "source": {**_TEXT, "format": "uri-reference", "pattern": r"^[!#-;=?-\[\]_a-z~%A-Z]+$"},
        "specversion": {"const": "1.0"},
        "type": _TEXT,
        "datacontenttype": {"type": ["string", "null"], "minLength": 1},
        "dataschema": {"type": ["string", "null"], "format": "uri", "minLength": 1},
        "subject": {"type": ["string", "null"], "minLength": 1},
        "time": {"type": ["string", "null"], "format": "date-time",
                 "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"},
        "data": {},
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
    },
    "not": {"required": ["data", "data_base64"]},
    "propertyNames": {"anyOf": [{"const": "data_base64"}, {"pattern": "^[a-z0-9]{1,20}$"}]},
    "additionalProperties": {"type": ["string", "boolean", "integer"]},
}  # fmt: skip
EVENTS = [
    ("insert", None, factory.order(6)),
    ("update", factory.order(7), factory.order(7, "shipped")),
    ("delete", factory.order(8), None),
]


@pytest.mark.parametrize("source", ["orders", "naïve orders/€"])
def test_each_event_obeys_the_rules(source: str) -> None:
    events = list(cloud_events(factory.batch(EVENTS, source=source)))
    for event in events:
        Draft202012Validator(CLOUD_EVENT, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(event)
    assert [event["type"] for event in events] == [f"io.differ.change.{op}" for op, _, _ in EVENTS]
    assert len({(event["source"], event["id"]) for event in events}) == 3


def test_the_data_is_the_ndjson_event() -> None:
    batch = factory.batch(EVENTS)
    events = list(cloud_events(batch))
    assert [event["data"] for event in events] == list(event_objects(batch))
    assert events[1]["id"] == f"{factory.STREAM}:42"
    assert events[1]["time"] == "2026-11-23T10:05:00.25Z"
    assert events[1]["subject"] == events[1]["partitionkey"]
    assert "7" in events[1]["subject"]


def test_sequences_sort_as_text() -> None:
    many = [("insert", None, factory.order(n)) for n in range(12)]
    found = [event["sequence"] for event in cloud_events(factory.batch(many, first_scn=5))]
    assert found == sorted(found)


def test_the_official_library_reads_a_line() -> None:
    (line,) = event_lines(factory.batch([EVENTS[1]]))
    message = HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=line)
    event: Any = from_structured_event(message, JSONFormat())
    assert event.get_id() == f"{factory.STREAM}:41"
    assert event.get_type() == "io.differ.change.update"
    assert event.get_time() == factory.DETECTED
    assert event.get_subject() == event.get_extension("partitionkey")
    assert event.get_data() == json.loads(line)["data"]
