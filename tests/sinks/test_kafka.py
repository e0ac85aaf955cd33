"""The kafka sink against a Kafka-protocol server: the shared suite, the forms of messages, outages, refusals."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import fastavro
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from differ.errors import ConfigError, SinkError, SinkUnavailableError
from differ.records import types as t
from differ.sinks.contract import Document, RefusedError
from differ.sinks.kafka import KafkaSink
from differ.sinks.plain import plain_document
from differ.testing.sinks import EventSinkConformance, Feed
from tests.servers import Kafka
from tests.sinks.answering import Answer, Registry
from tests.sinks.feeding import changed, made

OPS = {"c": "insert", "r": "insert", "u": "update", "d": "delete"}


class TestKafka(EventSinkConformance):
    """The shared suite, in Debezium's envelope."""

    sink = KafkaSink
    server: ClassVar[Kafka]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, kafka: Kafka) -> None:
        cls.server = kafka

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        self.server.ensure()
        prefix = self.server.create_database()
        return {"servers": self.server.url(), "topic": f"{prefix}.{{source}}", "marks": f"{prefix}-marks"}

    def read(self, options: Mapping[str, Any]) -> Sequence[tuple[str, Any, Any]]:
        found = [json.loads(message.value()) for message in messages(self.server, options)]
        return [(OPS[body["op"]], (body["after"] or body["before"])["id"], body["after"]) for body in found]

    def shown(self, document: Document) -> Any:
        return plain_document(document, self.feed.columns)


@pytest.fixture
def topic(kafka: Kafka, kafka_url: str) -> Iterator[str]:
    name = kafka.create_database()
    yield name
    kafka.ensure()
    kafka.drop_database(name)


def options(kafka: Kafka, topic: str, **more: Any) -> dict[str, Any]:
    return {"servers": kafka.url(), "topic": topic, "marks": f"{topic}-marks", "timeout": "5s", **more}


def test_keys_headers_and_tombstones(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    given = options(kafka, topic, tombstones=True, format="native")
    sink = made(KafkaSink, tmp_path, given)
    sink.open()
    feed = Feed()
    changes = [feed.put(1), feed.delete(1)]
    sink.publish(changes, None)
    sink.close()
    found = messages(kafka, given)
    assert [message.key() for message in found] == [b'{"id":1}'] * 3
    assert found[2].value() is None
    first, second = json.loads(found[0].value() or b""), json.loads(found[1].value() or b"")
    assert (first["scn"], first["op"], first["key"], first["before"]) == (1, "insert", {"id": 1}, None)
    assert (second["scn"], second["op"], second["before"], second["after"]) == (2, "delete", first["after"], None)
    assert found[1].headers() == [("differ-stream", feed.stream.encode()), ("differ-scn", b"2")]


def test_all_changes_of_a_key_are_in_one_partition(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.url()})
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(30)
    given = options(kafka, topic, format="native")
    sink = made(KafkaSink, tmp_path, given)
    sink.open()
    feed = Feed()
    sink.publish([feed.put(key) for _ in range(3) for key in range(20)], None)
    sink.close()
    places: dict[bytes | None, set[int | None]] = {}
    scns: dict[bytes | None, list[int]] = {}
    for message in messages(kafka, given, partitions=4):
        places.setdefault(message.key(), set()).add(message.partition())
        scns.setdefault(message.key(), []).append(json.loads(message.value() or b"")["scn"])
    assert [len(found) for found in places.values()] == [1] * 20
    assert len({place for found in places.values() for place in found}) > 1
    assert all(found == sorted(found) for found in scns.values())


def test_rows_of_a_bootstrap_are_reads_between_marks(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    given = options(kafka, topic)
    sink = made(KafkaSink, tmp_path, given)
    sink.open()
    feed = Feed()
    feed.put(1)
    generation = feed.generation()
    sink.begin_bootstrap(generation)
    for rows, checkpoint in feed.pages(generation, 1):
        sink.publish_bootstrap(rows, checkpoint)
    sink.end_bootstrap(generation, feed.checkpoint())
    sink.publish([feed.put(1)], feed.checkpoint())
    sink.close()
    row, event = messages(kafka, given)
    assert [json.loads(message.value() or b"")["op"] for message in (row, event)] == ["r", "u"]
    assert dict(row.headers() or [])["differ-generation"] == generation.id.encode()
    assert "differ-generation" not in dict(event.headers() or [])
    marks = [json.loads(message.value() or b"") for message in messages(kafka, {"topic": given["marks"]})]
    assert [mark["control"] for mark in marks] == ["bootstrap_begin", "bootstrap_end"]
    assert marks[0] | {"control": ""} == {
        "control": "", "sink": "shop", "generation": generation.id, "stream": feed.stream, "scn": 1,
        "sources": ["orders"],
    }  # fmt: skip


def test_avro_with_a_schema_registry(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    values: dict[str, tuple[t.LogicalType, Any, Any]] = {
        "id": (t.INT, 1, 1),
        "odd name": (t.STRING, "é", "é"),
        "total": (t.LogicalType(kind="decimal", precision=12, scale=2), Decimal("1.5"), Decimal("1.50")),
        "free": (t.DECIMAL_TEXT, Decimal("19.90"), "19.90"),
        "day": (t.DATE, date(2026, 11, 23), date(2026, 11, 23)),
        "clock": (t.LogicalType(kind="time", unit="us"), time(10, 5, 0, 7), time(10, 5, 0, 7)),
        "clock_ns": (t.LogicalType(kind="time", unit="ns"), "10:05:00.000000007", 36300_000000007),
        "at": (t.TIMESTAMP_UTC, datetime(2026, 1, 2, 3, 4, 5, 6, UTC), datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
        "took": (t.LogicalType(kind="duration", unit="us"), timedelta(seconds=1.5), 1_500_000),
        "uid": (t.UUID, UUID(int=5), UUID(int=5)),
        "data": (t.BYTES, b"\x00\xff", b"\x00\xff"),
        "tags": (t.LogicalType(kind="list", children=(("item", t.STRING),)), ["a", None], ["a", None]),
        "where": (t.LogicalType(kind="struct", children=(("zip code", t.INT),)), {"zip code": 7}, {"zip_code": 7}),
        "any": (t.JSON, {"a": 1}, '{"a":{"$numberInt":"1"}}'),
        "nothing": (t.STRING, None, None),
    }
    types = {name: type_ for name, (type_, _, _) in values.items()}
    with Registry() as registry:
        given = options(kafka, topic, format="avro", registry={"url": registry.url})
        sink = made(KafkaSink, tmp_path, given)
        sink.open()
        feed = Feed(types)
        row = {name: value for name, (_, value, _) in values.items()}
        sink.publish([feed.put(1, **row), feed.put(1, **row | {"nothing": "x"}), feed.delete(1)], None)
        sink.close()
        assert registry.subjects == [f"{topic}-value"]
        found = [decoded(message.value() or b"", registry) for message in messages(kafka, given)]
    expected = {name.replace(" ", "_"): value for name, (_, _, value) in values.items()}
    assert found[0]["after"] == expected
    assert [(body["op"], body["scn"]) for body in found] == [("insert", 1), ("update", 2), ("delete", 3)]
    assert found[1]["before"] == expected
    assert found[2]["after"] is None
    assert found[2]["key"] == {"id": 1}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(409, b"{}"), SinkError, "incompatible"),
        (Answer(401), SinkError, "401"),
        (Answer(200, b"no json"), SinkError, "200"),
        (Answer(503), SinkUnavailableError, "503"),
        (Answer(302, headers=(("location", "http://127.0.0.1:1/"),)), SinkError, "302"),
    ],
    ids=["incompatible", "credentials", "nonsense", "busy", "redirect"],
)
def test_a_registry_that_refuses(
    kafka: Kafka, topic: str, tmp_path: Path, answer: Answer, error: type[SinkError], words: str
) -> None:
    with Registry() as registry:
        registry.refuse = answer
        place = {"url": registry.url, "username": "me", "password": "very-secret"}
        given = options(kafka, topic, format="avro", registry=place)
        sink = made(KafkaSink, tmp_path, given)
        sink.open()
        feed = Feed()
        change = feed.put(1)
        with pytest.raises(error, match=words) as caught:
            sink.publish([change], None)
        assert type(caught.value) is error
        assert "very-secret" not in str(caught.value)
        registry.refuse = None
        sink.publish([change], None)
        sink.close()
        assert len(messages(kafka, given)) == 1


def test_a_server_that_is_away_for_a_while(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    given = options(kafka, topic, timeout="2s", format="native")
    sink = made(KafkaSink, tmp_path, given)
    sink.open()
    feed = Feed()
    changes = [feed.put(1), feed.put(2)]
    sink.publish(changes[:1], None)
    kafka.stop()
    with pytest.raises(SinkUnavailableError) as caught:
        sink.publish(changes[1:], None)
    assert "name 2" not in str(caught.value)
    kafka.start()
    sink.publish(changes[1:], None)
    sink.close()
    found = [json.loads(message.value() or b"")["scn"] for message in messages(kafka, given)]
    assert found == [1, 2]


def test_a_server_that_is_away_at_the_start(tmp_path: Path) -> None:
    sink = made(KafkaSink, tmp_path, {"servers": "127.0.0.1:1", "timeout": "1s"})
    with pytest.raises(SinkUnavailableError):
        sink.open()
    sink.close()


def test_a_message_that_is_too_large_is_named_and_the_others_sent(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    given = options(kafka, topic, format="native")
    sink = made(KafkaSink, tmp_path, given)
    sink.open()
    feed = Feed()
    changes = [feed.put(1), feed.put(2, name="x" * 2_000_000), feed.put(3)]
    with pytest.raises(RefusedError) as caught:
        sink.publish(changes, None)
    assert caught.value.refused == ((changes[1], "MSG_SIZE_TOO_LARGE"),)
    assert "xxx" not in str(caught.value)
    sink.close()
    assert [json.loads(message.value() or b"")["scn"] for message in messages(kafka, given)] == [1, 3]


def test_a_field_without_type_has_no_place_in_avro(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    with Registry() as registry:
        sink = made(KafkaSink, tmp_path, options(kafka, topic, format="avro", registry={"url": registry.url}))
        sink.open()
        with pytest.raises(SinkError, match="no type is known of the field 'made_up'"):
            sink.publish([changed(Feed().put(1), document={"made_up": 1})], None)
        sink.close()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"format": "avro"}, "belong together"),
        ({"registry": {"url": "http://127.0.0.1:1"}}, "belong together"),
        ({"config": {"acks": "0"}}, "acks is the sink's own"),
        ({"registry": {"url": "ftp://x"}}, r"options\.registry\.url"),
    ],
)
def test_options_are_checked(tmp_path: Path, more: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(KafkaSink, tmp_path, {"servers": "127.0.0.1:1", **more})


def test_a_property_that_the_library_does_not_know(tmp_path: Path) -> None:
    sink = made(KafkaSink, tmp_path, {"servers": "127.0.0.1:1", "config": {"no.such.property": 1}})
    with pytest.raises(SinkError, match=r"no\.such\.property"):
        sink.open()


def messages(kafka: Kafka, options: Mapping[str, Any], partitions: int = 1) -> list[Message]:
    """What the topic of the source `orders` holds."""
    topic = options["topic"].replace("{source}", "orders")
    consumer = Consumer({"bootstrap.servers": kafka.url(), "group.id": "read", "log_level": 0})
    try:
        if topic not in consumer.list_topics(timeout=30).topics:
            return []
        places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
        count = sum(consumer.get_watermark_offsets(place, timeout=30)[1] for place in places)
        consumer.assign(places)
        return list(consumer.consume(count, 30)) if count else []
    finally:
        consumer.close()


def decoded(message: bytes, registry: Registry) -> Any:
    """A message of Confluent's wire format, by the schema that its id names."""
    assert message[:1] == b"\0"
    schema = json.loads(registry.schemas[int.from_bytes(message[1:5], "big") - 1])
    return fastavro.schemaless_reader(io.BytesIO(message[5:]), schema, None)
