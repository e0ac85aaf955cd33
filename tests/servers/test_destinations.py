"""The servers that sinks write to: each starts, takes a record, gives it back, and leaves nothing behind.

NATS keeps what it acknowledged over a kill. noida-db keeps it over a stop, the OpenSearch emulator lives in memory:
an outage of these is a server that is stopped or frozen, and what a crash of theirs would lose is not tested.
"""

import asyncio
from collections.abc import Callable, Iterator

import psutil
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from nats import connect
from nats.js import api

from tests.conftest import serve
from tests.servers import NATS, Elasticsearch, Kafka, OpenSearch, Server
from tests.servers.elasticsearch import SearchServer
from tests.servers.ports import LOOPBACK, is_free

KINDS = [NATS, Kafka, Elasticsearch, OpenSearch]
KEEPS = {"nats", "kafka", "elasticsearch"}

pytestmark = pytest.mark.service


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from serve(request.param())


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    server.ensure()
    name = server.create_database()
    yield name
    server.ensure()
    server.drop_database(name)


def test_write_and_read(server: Server, database: str) -> None:
    assert read(server, database) == []
    write(server, database, "first")
    assert read(server, database) == ["first"]


def test_databases_are_apart_and_dropped(server: Server, database: str) -> None:
    write(server, database, "here")
    other = server.create_database()
    write(server, other, "there")
    assert read(server, database) == ["here"]
    server.drop_database(other)
    assert read(server, database) == ["here"]


def test_listens_on_loopback_only(server: Server, database: str) -> None:
    listening = [
        connection.laddr
        for connection in psutil.Process(server.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip for address in listening} == {LOOPBACK}
    assert server.port in {address.port for address in listening}


@pytest.mark.crash
@pytest.mark.parametrize("server", [NATS], ids=["nats"], indirect=True)
def test_nats_keeps_over_a_kill_what_it_acknowledged(server: Server, database: str) -> None:
    write(server, database, "kept")
    server.kill()
    assert is_free(server.port)
    server.start()
    assert read(server, database) == ["kept"]


def test_a_restart_keeps_port_and_data_but_in_memory(server: Server, database: str) -> None:
    write(server, database, "kept")
    port = server.port
    server.restart()
    assert (server.port, read(server, database)) == (port, ["kept"] if server.name in KEEPS else [])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_nothing_is_left_behind(kind: Callable[[], Server]) -> None:
    server = kind()
    for _ in serve(server):
        pid, folder, port = server.pid, server.folder, server.port
    assert (psutil.pid_exists(pid), folder.exists(), is_free(port)) == (False, False, True)


def test_fixture_urls(nats_url: str, kafka_url: str, elasticsearch_url: str, opensearch_url: str) -> None:
    for url in (elasticsearch_url, opensearch_url):
        assert url.startswith("http://127.0.0.1:")
    assert nats_url.startswith("nats://127.0.0.1:")
    assert kafka_url.startswith("127.0.0.1:")


def write(server: Server, database: str, text: str) -> None:
    """Store one text and wait until the server says that it has it."""
    if isinstance(server, NATS):
        asyncio.run(publish(server.url(), f"{database}.notes", text))
    elif isinstance(server, Kafka):
        producer = Producer({"bootstrap.servers": server.url(), "acks": "all", "log_level": 0})
        producer.produce(database, text.encode())
        assert producer.flush(30) == 0
    elif isinstance(server, SearchServer):
        server.ask("PUT", f"/{database}/_doc/1?refresh=true", {"text": text})


def read(server: Server, database: str) -> list[str]:
    """Return every text of `database`; none when nothing was written."""
    if isinstance(server, NATS):
        return asyncio.run(published(server.url(), database))
    if isinstance(server, Kafka):
        return consumed(server.url(), database)
    assert isinstance(server, SearchServer)
    if not any(name.startswith(database) for name in server.ask("GET", "/_all/_settings")):
        return []
    found = server.ask("POST", f"/{database}/_search", {"query": {"match_all": {}}})
    return [hit["_source"]["text"] for hit in found["hits"]["hits"]]


async def publish(url: str, subject: str, text: str) -> None:
    client = await connect(url)
    await client.jetstream().publish(subject, text.encode())
    await client.close()


async def published(url: str, stream: str) -> list[str]:
    client = await connect(url)
    streams = client.jetstream()
    try:
        if stream not in [info.config.name for info in await streams.streams_info()]:
            await streams.add_stream(api.StreamConfig(name=stream, subjects=[f"{stream}.>"]))
        last = (await streams.stream_info(stream)).state.last_seq
        return [((await streams.get_msg(stream, number)).data or b"").decode() for number in range(1, last + 1)]
    finally:
        await client.close()


def consumed(url: str, topic: str) -> list[str]:
    consumer = Consumer({"bootstrap.servers": url, "group.id": "read", "enable.auto.commit": False, "log_level": 0})
    try:
        if topic not in consumer.list_topics(timeout=30).topics:
            return []
        place = TopicPartition(topic, 0, OFFSET_BEGINNING)
        _, end = consumer.get_watermark_offsets(place, timeout=30)
        consumer.assign([place])
        return [(message.value() or b"").decode() for message in consumer.consume(end, 30)]
    finally:
        consumer.close()
