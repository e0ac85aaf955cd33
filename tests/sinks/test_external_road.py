"""The whole road to each external destination: scan, relay, client, mapping, sink; with an outage in its middle."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pymongo import MongoClient

from tests.servers import NATS, Elasticsearch, Kafka, MongoDB, Server
from tests.sinks.answering import HTTPServer, Request
from tests.sinks.rig import Rig
from tests.sinks.test_elasticsearch import documents
from tests.sinks.test_kafka import messages
from tests.sinks.test_nats import stored
from tests.sinks.test_webhook import events_of

AT = datetime(2026, 11, 23, 10, 0, 0, 250_000, UTC)


@dataclass(frozen=True)
class Destination:
    """A kind of sink, its options, its server, and what it holds by key: `amount` of each record."""

    kind: str
    options: dict[str, Any]
    server: Server | HTTPServer
    read: Callable[[], dict[int, str]]


def row(key: int, total: str) -> dict[str, Any]:
    return {
        "id": key, "total": Decimal(total), "at": AT, "uid": UUID(int=key), "tags": ["a", None], "data": b"\0",
        "note": None,
    }  # fmt: skip


@pytest.fixture(params=["mongodb", "elasticsearch", "kafka", "nats", "webhook"])
def destination(request: pytest.FixtureRequest) -> Iterator[Destination]:
    if request.param == "webhook":
        with HTTPServer() as server:
            yield Destination("webhook", {"url": server.url}, server, lambda: folded(server.requests))
        return
    server = request.getfixturevalue(request.param)
    server.ensure()
    name = server.create_database()
    yield {"mongodb": of_mongodb, "elasticsearch": of_search, "kafka": of_kafka, "nats": of_nats}[request.param](
        server, name
    )
    server.ensure()
    server.drop_database(name)


def test_scan_to_destination_with_an_outage_between(rig: Rig, destination: Destination) -> None:
    rig.world.commit("orders", [row(1, "1.00"), row(2, "2.00"), row(3, "3.00")])
    sink = rig.sink(
        kind=destination.kind, options={**destination.options, "timeout": "2s"}, mapping={"rename": {"total": "amount"}}
    )
    runner = rig.start(sink)
    rig.until_head(runner)
    assert destination.read() == {1: "1.00", 2: "2.00", 3: "3.00"}
    rig.world.commit("orders", [row(1, "1.50"), row(3, "3.00"), row(4, "4.00")])
    rig.until_head(runner)
    assert destination.read() == {1: "1.50", 3: "3.00", 4: "4.00"}
    destination.server.stop()
    rig.world.commit("orders", [row(1, "1.75"), row(4, "4.00")])
    rig.world.commit("orders", [row(1, "1.80"), row(2, "2.20")])
    assert runner.failure() is None
    destination.server.start()
    rig.until_head(runner)
    assert destination.read() == {1: "1.80", 2: "2.20"}
    runner.stop()
    rig.world.commit("orders", [row(2, "2.20"), row(5, "5.00")])
    again = rig.start(sink)
    rig.until_head(again)
    assert destination.read() == {2: "2.20", 5: "5.00"}
    assert again.status()["bootstraps"] == 0


def of_mongodb(server: MongoDB, name: str) -> Destination:
    url = server.url(name)

    def read() -> dict[int, str]:
        with MongoClient[dict[str, Any]](url, tz_aware=True, uuidRepresentation="standard") as client:
            found = list(client[name]["orders"].find())
        assert all(document["at"] == AT and document["uid"] == UUID(int=document["id"]) for document in found)
        return {document["_id"]: str(document["amount"]) for document in found}

    return Destination("mongodb", {"url": url}, server, read)


def of_search(server: Elasticsearch, name: str) -> Destination:
    def read() -> dict[int, str]:
        found = documents(server, f"{name}-orders")
        assert all(document["at"] == "2026-11-23T10:00:00.25Z" for document in found)
        return {document["id"]: document["amount"] for document in found}

    return Destination("elasticsearch", {"url": server.url(), "index": f"{name}-{{source}}"}, server, read)


def of_kafka(server: Kafka, name: str) -> Destination:
    options = {"servers": server.url(), "topic": f"{name}-{{source}}", "marks": f"{name}-marks"}

    def read() -> dict[int, str]:
        held: dict[int, str] = {}
        for message in messages(server, options):
            body = json.loads(message.value() or b"")
            keep(held, (body["after"] or body["before"])["id"], body["after"])
        return held

    return Destination("kafka", options, server, read)


def of_nats(server: NATS, name: str) -> Destination:
    options = {"servers": server.url(), "stream": name, "subject": f"{name}.{{source}}"}

    def read() -> dict[int, str]:
        held: dict[int, str] = {}
        for message in stored(server, name):
            if "op" in message.body:
                keep(held, message.body["key"]["id"], message.body["after"])
        return held

    return Destination("nats", options, server, read)


def folded(requests: list[Request]) -> dict[int, str]:
    held: dict[int, str] = {}
    for request in requests:
        for event in events_of(request):
            if "op" in event["data"]:
                keep(held, event["data"]["key"]["id"], event["data"]["after"])
    return held


def keep(held: dict[int, str], key: int, after: dict[str, Any] | None) -> None:
    """What a reader does that keeps state."""
    if after is None:
        held.pop(key, None)
    else:
        held[key] = after["amount"]
