"""The mongodb sink against a MongoDB-protocol server: the shared suite, BSON types, bootstraps, outages, refusals."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database

from differ.errors import ConfigError, SinkError, SinkUnavailableError, UsageError
from differ.formats.checkpoint import StreamCheckpoint
from differ.records import types as t
from differ.sinks.contract import Document, RefusedError
from differ.sinks.mongodb import MongoSink
from differ.testing.sinks import Feed, StateSinkConformance
from tests.servers import MongoDB
from tests.sinks.feeding import changed, made


class TestMongoDB(StateSinkConformance):
    """The shared suite, with the loaded collection renamed over the old one."""

    sink = MongoSink
    server: ClassVar[MongoDB]
    replace: ClassVar[str] = "rename"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, mongodb: MongoDB) -> None:
        cls.server = mongodb

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        self.server.ensure()
        return {"url": self.server.url(self.server.create_database()), "replace": self.replace}

    def read(self, options: Mapping[str, Any]) -> list[Document]:
        with MongoClient[dict[str, Any]](options["url"], tz_aware=True) as client:
            return [plain(document) for document in client.get_default_database()["orders"].find()]


class TestMongoDBByCopy(TestMongoDB):
    """The same where a collection cannot be renamed over another."""

    replace = "copy"


@pytest.fixture
def database(mongodb_url: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb_url, tz_aware=True, uuidRepresentation="standard") as client:
        yield client.get_default_database()


def test_every_bson_type_of_a_document_is_kept(mongodb_url: str, database: Any, tmp_path: Path) -> None:
    document = {
        "int": 1,
        "long": bson.Int64(1),
        "double": 1.0,
        "decimal": bson.Decimal128("1.50"),
        "id": bson.ObjectId("65f000000000000000000001"),
        "at": datetime(2026, 11, 23, 10, 0, 0, 5000, tzinfo=UTC),
        "bytes": b"\x00\x01",
        "binary": bson.Binary(b"x", 128),
        "uuid": UUID(int=7),
        "regex": bson.Regex("^a", "i"),
        "code": bson.Code("f()", {"x": 1}),
        "timestamp": bson.Timestamp(5, 6),
        "min": bson.MinKey(),
        "max": bson.MaxKey(),
        "null": None,
        "list": [1, bson.Int64(2), [True, {"x.y": 1, "$z": 2}]],
        "empty": {},
    }
    sink = made(MongoSink, tmp_path, {"url": mongodb_url, "spread": "document"})
    sink.open()
    feed = Feed()
    identity = bson.ObjectId("65f0000000000000000000ff")
    change = changed(
        feed.put(1), {"_id": t.JSON, "document": t.JSON}, key={"_id": identity}, document={"document": document}
    )
    sink.apply([change], [], feed.checkpoint())
    sink.close()
    options = database["orders"].codec_options
    raw = database.get_collection("orders", bson.CodecOptions(document_class=RawBSONDocument)).find_one()
    assert raw.raw == bson.encode({"_id": identity, **document}, codec_options=options)


def test_values_of_columns(mongodb_url: str, database: Any, tmp_path: Path) -> None:
    values = {
        "int": (t.INT, 7, bson.Int64(7)),
        "exact": (t.DECIMAL_TEXT, Decimal("19.90"), bson.Decimal128("19.90")),
        "long_decimal": (t.DECIMAL_TEXT, Decimal("1" * 40 + ".5"), "1" * 40 + ".5"),
        "day": (t.DATE, date(2026, 11, 23), "2026-11-23"),
        "moment": (t.TIMESTAMP_UTC, datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC), None),
        "local": (t.TIMESTAMP, datetime(2026, 11, 23, 10, 0, 0, 123456), "2026-11-23T10:00:00.123456"),  # noqa: DTZ001
        "long": (t.LogicalType(kind="duration", unit="us"), timedelta(seconds=-1.5), "-PT1.5S"),
        "uuid": (t.UUID, UUID(int=9), UUID(int=9)),
    }
    types = {name: type_ for name, (type_, _, _) in values.items()}
    feed = Feed()
    change = changed(feed.put(1), types, document={name: given for name, (_, given, _) in values.items()})
    for timestamps, moment in (
        ("date", datetime(2026, 11, 23, 10, 0, 0, 123000, tzinfo=UTC)),
        ("text", "2026-11-23T10:00:00.123456Z"),
    ):
        sink = made(MongoSink, tmp_path, {"url": mongodb_url, "timestamps": timestamps})
        sink.open()
        sink.apply([change], [], feed.checkpoint())
        sink.close()
        (found,) = database["orders"].find()
        expected = {name: kept for name, (_, _, kept) in values.items()} | {"moment": moment}
        assert {name: found[name] for name in values} == expected
        assert type(found["int"]) is bson.Int64


def test_composite_keys_are_embedded_documents(mongodb_url: str, database: Any, tmp_path: Path) -> None:
    sink = made(MongoSink, tmp_path, {"url": mongodb_url})
    sink.open()
    feed = Feed()
    keys = [{"region": "eu", "$id": 1}, {"region": "eu", "$id": 2}]
    changes = [changed(feed.put(n), key=key, document={"n": n}) for n, key in enumerate(keys)]
    sink.apply(changes, [], feed.checkpoint())
    sink.apply([], [changed(changes[0], op="delete", document=None)], feed.checkpoint())
    sink.close()
    assert [document["_id"] for document in database["orders"].find()] == [keys[1]]


def test_a_bootstrap_keeps_indexes_and_leaves_nothing_behind(mongodb_url: str, database: Any, tmp_path: Path) -> None:
    database["orders"].create_index([("name", 1)], name="by_name", sparse=True)
    database["orders"].insert_one({"_id": "stale", "name": "old"})
    feed = Feed()
    feed.put(1)
    for replace in ("rename", "copy"):
        sink = made(MongoSink, tmp_path, {"url": mongodb_url, "replace": replace})
        sink.open()
        given_up = feed.generation()
        sink.begin_bootstrap(given_up)
        load(sink, feed, given_up)
        generation = feed.generation()
        sink.begin_bootstrap(generation)
        load(sink, feed, generation)
        sink.end_bootstrap(generation, feed.checkpoint())
        sink.close()
        assert "by_name" in database["orders"].index_information()
        assert sorted(database.list_collection_names()) == ["differ_checkpoints", "orders"]
        assert [document["_id"] for document in database["orders"].find()] == [1]


def test_a_crash_while_a_bootstrap_takes_its_place(mongodb_url: str, database: Any, tmp_path: Path) -> None:
    """The loaded collection was renamed, the checkpoint not written: the last page and the end come again."""
    feed = Feed()
    for key in range(1, 5):
        feed.put(key)
    sink = made(MongoSink, tmp_path, {"url": mongodb_url})
    sink.open()
    generation = feed.generation()
    sink.begin_bootstrap(generation)
    pages = list(feed.pages(generation, 2))
    sink.apply_bootstrap(*pages[0])
    sink.apply_bootstrap(*pages[1])
    before = database["differ_checkpoints"].find_one({"_id": "shop"})
    sink.end_bootstrap(generation, feed.checkpoint())
    database["differ_checkpoints"].replace_one({"_id": "shop"}, before | {"swapping": True})
    sink.close()
    again = made(MongoSink, tmp_path, {"url": mongodb_url})
    again.open()
    again.begin_bootstrap(generation)
    again.apply_bootstrap(*pages[1])
    again.end_bootstrap(generation, feed.checkpoint())
    assert again.load() == StreamCheckpoint(cursor=feed.cursor())
    again.close()
    assert sorted(document["_id"] for document in database["orders"].find()) == [1, 2, 3, 4]


def test_loaded_rows_that_somebody_dropped_are_not_taken_for_there(
    mongodb_url: str, database: Any, tmp_path: Path
) -> None:
    feed = Feed()
    feed.put(1)
    sink = made(MongoSink, tmp_path, {"url": mongodb_url})
    sink.open()
    generation = feed.generation()
    sink.begin_bootstrap(generation)
    load(sink, feed, generation)
    (staging,) = set(database.list_collection_names()) - {"differ_checkpoints"}
    database.drop_collection(staging)
    with pytest.raises(SinkError, match="is gone"):
        sink.begin_bootstrap(generation)
    sink.close()


def test_a_server_that_is_away_for_a_while(mongodb: MongoDB, mongodb_url: str, database: Any, tmp_path: Path) -> None:
    sink = made(MongoSink, tmp_path, {"url": mongodb_url, "timeout": "2s"})
    sink.open()
    feed = Feed()
    sink.apply([feed.put(1)], [], feed.checkpoint())
    mongodb.stop()
    change = feed.put(2)
    with pytest.raises(SinkUnavailableError) as caught:
        sink.apply([change], [], feed.checkpoint())
    assert caught.value.transient
    assert "name 2" not in str(caught.value)
    mongodb.start()
    sink.apply([change], [], feed.checkpoint())
    assert sink.load() == feed.checkpoint()
    sink.close()
    assert sorted(document["_id"] for document in database["orders"].find()) == [1, 2]


def test_a_server_that_hangs(mongodb: MongoDB, mongodb_url: str, database: Any, tmp_path: Path) -> None:
    sink = made(MongoSink, tmp_path, {"url": mongodb_url, "timeout": "1s"})
    sink.open()
    feed = Feed()
    change = feed.put(1)
    mongodb.freeze()
    try:
        with pytest.raises(SinkUnavailableError):
            sink.apply([change], [], feed.checkpoint())
    finally:
        mongodb.thaw()
    sink.apply([change], [], feed.checkpoint())
    sink.close()
    assert [document["_id"] for document in database["orders"].find()] == [1]


def test_refused_documents_are_named_and_the_others_written(mongodb_url: str, database: Any, tmp_path: Path) -> None:
    database["orders"].create_index([("name", 1)], unique=True)
    sink = made(MongoSink, tmp_path, {"url": mongodb_url})
    sink.open()
    feed = Feed()
    sink.apply([feed.put(1, name="taken")], [], feed.checkpoint())
    stood = feed.checkpoint()
    changes = [feed.put(2, name="free"), feed.put(3, name="taken"), feed.put(4, name="also free")]
    with pytest.raises(RefusedError) as caught:
        sink.apply(changes, [], feed.checkpoint())
    ((refused, reason),) = caught.value.refused
    assert refused == changes[1]
    assert reason == "code 11000, duplicate in the unique index of name"
    assert "taken" not in str(caught.value)
    assert sink.load() == stood
    assert sorted(document["_id"] for document in database["orders"].find()) == [1, 2, 4]
    sink.close()


@pytest.mark.parametrize(
    "field",
    [{"big": "x" * 17_000_000}, {"nul\0": 1}, {"far": bson.datetime_ms.DatetimeMS(300_000_000_000_000)}],
    ids=["too large", "nul", "what this server cannot hold"],
)
def test_a_document_that_cannot_be_sent_is_refused(mongodb_url: str, tmp_path: Path, field: Any) -> None:
    sink = made(MongoSink, tmp_path, {"url": mongodb_url, "spread": "document"})
    sink.open()
    feed = Feed()
    with pytest.raises(RefusedError) as caught:
        sink.apply([changed(feed.put(1), {"document": t.JSON}, document={"document": field})], [], feed.checkpoint())
    assert "xxx" not in str(caught.value)
    assert sink.load() is None
    sink.close()


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="overwrite each other"):
        made(MongoSink, tmp_path, {"url": "mongodb://x/y", "collection": "all"}, sources="orders,items")
    with pytest.raises(ConfigError, match=r"options\.colection"):
        made(MongoSink, tmp_path, {"url": "mongodb://x/y", "colection": "all"})
    sink = made(MongoSink, tmp_path, {"url": "mongodb://127.0.0.1:1/"})
    with pytest.raises(UsageError, match="names no database"):
        sink.open()


def test_a_password_is_never_told(tmp_path: Path) -> None:
    url = "mongodb://user:very-secret@127.0.0.1:1/shop"
    sink = made(MongoSink, tmp_path, {"url": url, "timeout": "200ms"})
    with pytest.raises(SinkUnavailableError) as caught:
        sink.open()
    assert "very-secret" not in str(caught.value) + repr(sink.options)


def load(sink: MongoSink, feed: Feed, generation: Any) -> None:
    for rows, checkpoint in feed.pages(generation, 1):
        sink.apply_bootstrap(rows, checkpoint)


def plain(document: Mapping[str, Any]) -> Document:
    """What the feed wrote, from what the server gives."""
    assert document["_id"] == document["id"]
    return {
        name: value.to_decimal() if isinstance(value, bson.Decimal128) else value
        for name, value in document.items()
        if name != "_id"
    }
