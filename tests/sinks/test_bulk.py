"""Rows go to a destination in bulk: what is sent is counted on the wire, whatever library sends it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from differ.sinks.contract import StateSink
from differ.sinks.elasticsearch import ElasticsearchSink
from differ.sinks.mongodb import MongoSink
from differ.sinks.sql import SqlSink
from differ.testing.feed import Feed
from tests.road.proxy import Proxy
from tests.sinks.feeding import made

ROWS = 1_000
PACKETS_MAX = ROWS // 10
OF_TABLES = ROWS // 5
"""To look at, make and replace tables, however many rows there are."""
KINDS: dict[str, type[StateSink]] = {
    "postgresql": SqlSink,
    "mariadb": SqlSink,
    "mongodb": MongoSink,
    "elasticsearch": ElasticsearchSink,
}


class Counting(Proxy):
    """How many packets of at most 64 KiB clients sent."""

    packets = 0

    def passes(self, data: bytes) -> bool:
        self.packets += 1
        return True


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(request: pytest.FixtureRequest, kind: str) -> str:
    if kind != "elasticsearch":
        return str(request.getfixturevalue(f"{kind}_url"))
    server = request.getfixturevalue("elasticsearch")
    server.ensure()
    return str(server.url())


@pytest.fixture
def wire(url: str) -> Iterator[Counting]:
    with Counting(urlsplit(url).port or 0) as proxy:
        yield proxy


@pytest.mark.service
def test_a_batch_is_a_few_packets(kind: str, url: str, wire: Counting, tmp_path: Path) -> None:
    options: dict[str, Any] = {"url": url.replace(f":{urlsplit(url).port}", f":{wire.port}")}
    if kind == "mongodb":
        options["url"] += "?directConnection=true"  # else the driver goes on at the address that the server tells it
    if kind == "elasticsearch":
        options["index"] = f"{tmp_path.name}-{{source}}".lower().replace("_", "-")
    sink = made(KINDS[kind], tmp_path, options)
    sink.open()
    feed = Feed()
    keys = range(1, ROWS + 1)
    for upserts, deletes in (
        ([feed.put(key) for key in keys], []),
        ([feed.put(key) for key in keys], []),
        ([], [feed.delete(key) for key in keys]),
    ):
        before = wire.packets
        sink.apply(upserts, deletes, feed.checkpoint())
        assert 0 < wire.packets - before < PACKETS_MAX
    generation = feed.generation()
    rows = [feed.put(key) for key in keys]
    before = wire.packets
    sink.begin_bootstrap(generation)
    sink.apply_bootstrap(rows, feed.checkpoint())
    sink.end_bootstrap(generation, feed.checkpoint())
    assert 0 < wire.packets - before < PACKETS_MAX + OF_TABLES
    sink.close()
