"""Collections of a MongoDB-protocol server: every BSON type, typed columns, consistent reads, equal exports."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database

from differ.errors import RecordError
from differ.iterators.documents import DocumentRecords
from differ.iterators.files import files
from differ.iterators.mongodb import mongodb, snapshot
from differ.iterators.mongodb.snapshot import CODEC
from tests.iterators.scans import make_context, read_batches, read_rows, read_types

SPEC = mongodb.__differ_iterator__


@pytest.fixture
def database(mongodb_url: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb_url, uuidRepresentation="standard") as client:
        yield client.get_default_database()


@pytest.fixture
def things(database: Database[dict[str, Any]]) -> Collection[dict[str, Any]]:
    return database["things"]


@pytest.fixture
def options(mongodb_url: str) -> dict[str, Any]:
    return {"url": mongodb_url, "collection": "things"}


VALUES: dict[str, Any] = {
    "int": 1, "long": Int64(1), "double": 1.0, "text": "1", "true": True, "null": None, "decimal": Decimal128("1.50"),
    "oid": ObjectId("65f000000000000000000001"), "date": DatetimeMS(1),
     "bin0": b"\x00\xff", "bin5": Binary(b"m", 5), "bin128": Binary(b"u", 128),
    "uuid": Binary(UUID(int=7).bytes, 4), "uuid_old": Binary(UUID(int=7).bytes, 3), "regex": Regex("a.b", "ix"),
    "timestamp": Timestamp(4, 2), "min": MinKey(), "max": MaxKey(), "code": Code("x"), "scope": Code("x", {"a": 1}),
    "nan": math.nan, "inf": math.inf, "list": [1, "1", None, [2]], "doc": {"b": 1, "a": {"z": 1, "y": 2}},
    "unicode": "grün \U0001f600 \x00", "empty_doc": {}, "empty_list": [], "empty_text": "", "big": Int64(2**62),
}  # fmt: skip
ODD_NAMES = {"": 1, "a.b": 2, "grün": 3}


def documents(options: dict[str, Any], **more: Any) -> dict[Any, Any]:
    rows = read_rows(mongodb, options, **more)
    return {row["_id"]: row["document"] for row in rows}


def texts(options: dict[str, Any]) -> dict[str, str]:
    """The canonical texts: document by _id."""
    reader = SPEC.open(make_context(options))
    try:
        (batch,) = read_batches(reader)
    finally:
        reader.close()
    return dict(zip(batch.column("_id").to_pylist(), batch.column("document").to_pylist(), strict=True))


def test_every_bson_type_is_kept_apart(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    things.insert_many([{"_id": name, "v": value} for name, value in VALUES.items()])
    found = texts(options)
    assert len(found) == len(VALUES)
    assert len(set(found.values())) == len(VALUES)
    assert found['"int"'] == '{"v":{"$numberInt":"1"}}'
    assert found['"long"'] == '{"v":{"$numberLong":"1"}}'
    assert found['"doc"'] == '{"v":{"b":{"$numberInt":"1"},"a":{"z":{"$numberInt":"1"},"y":{"$numberInt":"2"}}}}'
    again = documents(options)
    for name in ("oid", "decimal", "long", "regex", "timestamp", "min", "list", "doc", "unicode", "bin5"):
        expected = Decimal128("1.5") if name == "decimal" else VALUES[name]
        assert (again[name]["v"], type(again[name]["v"])) == (expected, type(expected))


def test_dates_beyond_python_are_kept() -> None:
    """The test server refuses to store them, so they come from BSON as the driver would decode it."""
    records = DocumentRecords("s", ("_id",))
    for millis in (2**60, -62167219200001):
        document = bson.decode(bson.encode({"_id": DatetimeMS(millis), "v": DatetimeMS(-millis)}), CODEC)
        text = '{"$date":{"$numberLong":"%d"}}'
        (row,) = records.batch([document]).to_pylist()
        assert row == {"_id": text % millis, "document": '{"v":' + text % -millis + "}"}


def test_missing_is_not_null_and_top_level_order_means_nothing(
    things: Collection[dict[str, Any]], options: dict[str, Any]
) -> None:
    things.insert_many([{"_id": 1}, {"_id": 2, "a": None}, {"_id": 3, "a": 1, "b": 2}, {"b": 2, "a": 1, "_id": 4}])
    things.insert_one({"_id": 5} | ODD_NAMES)
    found = texts(options)
    one, two, three, four, five = (found[f'{{"$numberInt":"{number}"}}'] for number in range(1, 6))
    assert one != two
    assert three == four
    assert documents(options)[5] == ODD_NAMES
    assert five.startswith('{"":')


def test_ids_of_every_kind(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    ids = [1, Int64(2), 2.5, "1", ObjectId(), Decimal128("7"), datetime(2024, 1, 1, tzinfo=UTC), uuid4(), b"x", None,
           {"a": 1, "b": 2}, {"b": 2, "a": 1}, True]  # fmt: skip
    things.insert_many([{"_id": value, "n": number} for number, value in enumerate(ids)])
    reader = SPEC.open(make_context(options))
    try:
        (batch,) = read_batches(reader)
        assert len(set(batch.column("_id").to_pylist())) == len(ids)
        keys = [{"_id": row["_id"]} for row in read_rows(mongodb, options)]
        (found,) = reader.lookup(keys) or []
        assert sorted(found.to_pylist(), key=str) == sorted(batch.to_pylist(), key=str)
        assert [part.num_rows for part in reader.lookup([{"_id": 1.0}, {"_id": "no"}]) or []] == [0]
    finally:
        reader.close()


def test_filter_projection_and_their_text_forms(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    key = ObjectId("65f000000000000000000001")
    things.insert_many([{"_id": key, "a": 1, "b": 2}, {"_id": 2, "a": 5, "b": 2}])
    for filter_ in ({"_id": {"$oid": str(key)}}, f'{{"_id": {{"$oid": "{key}"}}}}', {"a": {"$lt": 3}}):
        assert list(documents(options | {"filter": filter_, "projection": {"b": 1}}).items()) == [(key, {"b": 2})]
    reader = SPEC.open(make_context(options | {"filter": {"a": 5}}))
    found = [row for batch in reader.lookup([{"_id": key}, {"_id": 2}]) or [] for row in batch.to_pylist()]
    reader.close()
    assert [row["_id"] for row in found] == ['{"$numberInt":"2"}']


def test_a_pipeline(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    things.insert_many([{"_id": number, "g": number % 2, "n": number} for number in range(10)])
    pipeline = [{"$match": {"n": {"$gte": 2}}}, {"$group": {"_id": "$g", "sum": {"$sum": "$n"}}}]
    for form in (pipeline, dumps(pipeline)):
        assert documents(options | {"pipeline": form}) == {0: {"sum": 20}, 1: {"sum": 24}}
    reader = SPEC.open(make_context(options | {"pipeline": pipeline}))
    found = [row for batch in reader.lookup([{"_id": 1}]) or [] for row in batch.to_pylist()]
    reader.close()
    assert len(found) == 1
    with pytest.raises(RecordError, match="no _id"):
        documents(options | {"pipeline": [{"$project": {"_id": 0}}]})


def test_typed_columns(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    moment = datetime(2024, 2, 29, 10, tzinfo=UTC)
    things.insert_many(
        [
            {
                "_id": 1,
                "total": Decimal128("19.90"),
                "at": moment,
                "a": {"b": [{"c": 7}]},
                "day": datetime(2024, 2, 29, tzinfo=UTC),
                "u": UUID(int=7),
                "mix": "x",
            },
            {"_id": 2, "total": 5, "mix": {"z": 1}},
            {"_id": 3, "total": None},
        ]
    )
    columns = {
        "total": {"type": "decimal(10,2)"}, "at": {"type": "timestamp[us,UTC]"},
        "c": {"path": "a.b.0.c", "type": "int"},
        "day": {"type": "date"}, "u": {"type": "uuid"}, "mix": {"type": "json"},
    }  # fmt: skip
    options = options | {"columns": columns}
    assert read_types(mongodb, options)["total"] == "decimal(10,2)"
    one, two, three = read_rows(mongodb, options)
    assert (one["total"], one["at"], one["c"], str(one["day"]), one["u"], one["mix"]) == (
        Decimal("19.90"), moment, 7, "2024-02-29", UUID(int=7), "x",
    )  # fmt: skip
    assert (two["total"], two["at"], two["c"], two["mix"]) == (Decimal("5.00"), None, None, {"z": 1})
    assert (three["total"], three["mix"]) == (None, None)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int32", Int64(2**40)),
        ("int", 1.5),
        ("int", "1"),
        ("int", True),
        ("float", Int64(2**53 + 1)),
        ("decimal(4,1)", Decimal128("1.55")),
        ("decimal(3,1)", Decimal128("123.4")),
        ("decimal(4,1)", Decimal128("NaN")),
        ("string", 1),
        ("string", Code("x")),
        ("bool", 1),
        ("date", datetime(2024, 1, 1, 1, tzinfo=UTC)),
        ("bytes", Binary(b"x", 5)),
        ("uuid", Binary(b"x" * 16, 3)),
        ("timestamp[us,UTC]", Timestamp(1, 1)),
        ("timestamp[ns,UTC]", datetime(2500, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_value_that_does_not_fit_exactly_names_the_document(
    things: Collection[dict[str, Any]], options: dict[str, Any], type_: str, value: Any
) -> None:
    things.insert_one({"_id": 77, "v": value})
    with pytest.raises(RecordError, match=r"77.*'v'"):
        documents(options | {"columns": {"v": {"type": type_}}})


def test_another_key(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    things.insert_many([{"_id": 1, "sku": {"code": "x"}}, {"_id": 2}])
    reader = SPEC.open(make_context(options, key=("sku.code",)))
    (batch,) = read_batches(reader)
    assert (reader.key, batch.column("sku.code").to_pylist()) == (("sku.code",), ['"x"', None])
    assert reader.lookup([{"sku.code": "x"}]) is None
    reader.close()


def test_a_scan_reads_one_state(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    things.insert_many([{"_id": number} for number in range(50)])
    reader = SPEC.open(make_context(options, batch_rows=10))
    assert reader.consistent
    batches = iter(reader.read(None))
    first = next(batches)
    things.delete_many({})
    things.insert_one({"_id": 99})
    assert first.num_rows + sum(batch.num_rows for batch in batches) == 50
    assert sum(batch.num_rows for batch in reader.read(None)) == 50  # A second cursor of the same scan.
    reader.close()
    assert list(documents(options)) == [99]


@pytest.mark.parametrize(("refused", "consistent"), [(0, True), (1, True), (2, False)])
def test_the_next_kind_of_read_is_tried_where_one_is_refused(
    things: Collection[dict[str, Any]],
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    refused: int,
    consistent: bool,
) -> None:
    """As with a capped collection, which has no snapshots; the test server itself refuses none of them."""
    begins, sessions = snapshot._begins, []

    def begin(client: Any, options: Any, session: ClientSession, source: str) -> bool:
        sessions.append(session)
        return len(sessions) > refused and begins(client, options, session, source)

    monkeypatch.setattr(snapshot, "_keeps_time", lambda client, options: True)
    monkeypatch.setattr(snapshot, "_begins", begin)
    things.insert_one({"_id": 1})
    reader = SPEC.open(make_context(options))
    assert reader.consistent is consistent
    assert [session.options.snapshot for session in sessions] == [True, False, False][: refused + 1]
    assert [session.in_transaction for session in sessions] == [False, refused == 1, False][: refused + 1]
    assert sum(batch.num_rows for batch in read_batches(reader)) == 1
    reader.close()
    assert all(session.has_ended for session in sessions)


def test_sources_share_one_state(database: Database[dict[str, Any]], options: dict[str, Any]) -> None:
    database["a"].insert_one({"_id": 1})
    database["b"].insert_one({"_id": 1})
    contexts = [make_context(options | {"collection": name}) for name in ("a", "b")]
    assert SPEC.store(contexts[0]) == SPEC.store(contexts[1])
    with SPEC.connect(contexts[0]) as handle:
        database["b"].insert_one({"_id": 2})
        for context in contexts:
            context.handle = handle
            reader = SPEC.open(context)
            assert sum(batch.num_rows for batch in read_batches(reader)) == 1
            reader.close()


def test_the_position_grows(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    positions = []
    for number in range(2):
        things.insert_one({"_id": number})
        reader = SPEC.open(make_context(options))
        positions.append(reader.position())
        reader.close()
    assert positions[0] is not None
    assert positions[1] is not None
    assert positions[0].is_before(positions[1])


def test_batches_are_bounded(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    things.insert_many([{"_id": number} for number in range(25)])
    for more, rows in (({}, 10), ({"batch_rows": 7}, 7)):
        reader = SPEC.open(make_context(options | more, batch_rows=10))
        sizes = [batch.num_rows for batch in read_batches(reader)]
        reader.close()
        assert (max(sizes), sum(sizes)) == (rows, 25)


def test_an_export_gives_the_same_records(
    things: Collection[dict[str, Any]], options: dict[str, Any], tmp_path: Any
) -> None:
    things.insert_many([{"_id": name, "v": value} for name, value in VALUES.items()])
    raw = things.with_options(
        codec_options=things.codec_options.with_options(
            uuid_representation=UuidRepresentation.UNSPECIFIED, datetime_conversion=1
        )
    )
    lines = [
        dumps(
            document,
            json_options=CANONICAL_JSON_OPTIONS.with_options(uuid_representation=UuidRepresentation.UNSPECIFIED),
        )
        for document in raw.find()
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    reader = files.__differ_iterator__.open(make_context({"path": "a.jsonl", "document": True}, tmp_path))
    (batch,) = read_batches(reader)
    assert dict(zip(batch.column("_id").to_pylist(), batch.column("document").to_pylist(), strict=True)) == texts(
        options
    )
