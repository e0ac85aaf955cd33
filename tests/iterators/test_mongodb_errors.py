"""What the mongodb iterator refuses, and that every error of driver and server becomes one that helps."""

import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import bson
import pytest
from bson import Decimal128
from pymongo import MongoClient, errors
from pymongo.collection import Collection
from pymongo.database import Database

from differ.errors import ConfigError, DifferError, RecordError, SourceError, SourceUnavailableError
from differ.iterators.mongodb import mongodb
from differ.iterators.mongodb.errors import mapped
from tests.iterators.scans import make_context, read_rows
from tests.road.proxy import Proxy
from tests.servers import MongoDB

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


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"filter": {"$where": "true"}}, "runs code"),
        ({"filter": '{"$or": [{"$where": "true"}]}'}, "runs code"),
        ({"pipeline": [{"$project": {"x": {"$function": {}}}}]}, "runs code"),
        ({"pipeline": [{"$group": {"_id": 1, "x": {"$accumulator": {}}}}]}, "runs code"),
        ({"filter": {"$expr": {"$function": {"body": "x", "args": [], "lang": "js"}}}}, "runs code"),
        ({"filter": '{"a": {"$ref": "c", "$id": 1, "$where": "true"}}'}, "runs code"),
        ({"filter": {"a": {"$elemMatch": {"$or": [{"b": {"$not": {"$where": "true"}}}]}}}}, "runs code"),
        ({"filter": {"a": {"$code": "while (true) {}"}}}, "is code"),
        ({"filter": '{"a": [{"$code": "x", "$scope": {}}]}'}, "is code"),
        ({"projection": {"x": {"$function": {}}}}, "runs code"),
        ({"pipeline": [{"$lookup": {"from": "b", "as": "b", "pipeline": [{"$match": {"$where": "1"}}]}}]}, "runs code"),
        ({"pipeline": [{"mapReduce": "x"}]}, "runs code"),
        ({"pipeline": [{"$out": "other"}]}, "writes"),
        ({"pipeline": '[{"$merge": {"into": "other"}}]'}, "writes"),
        ({"pipeline": [{"$facet": {"a": [{"$merge": "x"}]}}]}, "writes"),
        ({"pipeline": [], "filter": {"a": 1}}, "without filter"),
        ({"pipeline": ["x"]}, "one operator"),
        ({"filter": "{"}, "Extended JSON"),
        ({"filter": "[]"}, "mapping"),
        ({"filter": {"_id": {"$oid": "x"}}}, "Extended JSON"),
        ({"projection": {"_id": 0}}, "_id"),
        ({"columns": {"a": {"type": "list<int>"}}}, "json"),
        ({"columns": {"a": {"type": "timestamp"}}}, "UTC"),
        ({"columns": {"document": {"type": "json"}}}, "always there"),
        ({"columns": {"a": {"typ": "int"}}}, "path"),
        ({"columns": {"a": {"type": "itn"}}}, "int"),
        ({"colection": "x"}, "collection"),
        ({"collection": None}, "missing"),
        ({"url": "mongodb://127.0.0.1:1/"}, "database"),
        ({"url": "http://127.0.0.1/x"}, "mongodb://"),
        ({"url": "mongodb://a:b@[/x"}, "url"),
        ({"connect_args": {"noSuchThing": 1}}, "noSuchThing"),
        ({"batch_rows": 0}, "1 or more"),
        ({"batch_rows": 8193}, "8192 or less"),
        ({"columns": {"a": "itn"}}, "int"),
        ({"columns": {"a": 5}}, "must be a type"),
    ],
)
def test_options_that_make_no_sense(more: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SPEC.open(make_context({"url": "mongodb://127.0.0.1:1/shop", "collection": "things"} | more))
    assert cause.lower() in str(caught.value).lower()


def test_no_server_is_said_quickly_and_without_the_password() -> None:
    url = "mongodb://user:p%40ssw0rd@127.0.0.1:1/shop?serverSelectionTimeoutMS=50"
    with pytest.raises(SourceUnavailableError) as caught:
        SPEC.open(make_context({"url": url, "collection": "things"}))
    for word in ("p%40ssw0rd", "p@ssw0rd"):
        assert word not in f"{caught.value} {SPEC.store(make_context({'url': url, 'collection': 'x'}))}"


def test_a_collection_that_is_not_there(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    things.insert_one({"_id": 1})
    with pytest.raises(SourceError, match=r"no collection 'thigns'.*things"):
        SPEC.open(make_context(options | {"collection": "thigns"}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"filter": {"a": {"$noSuch": 1}}}, r"unknown operator: \$noSuch"),
        ({"filter": {"a": {"$in": 3}}}, "needs an array"),
        ({"pipeline": [{"$noSuch": 1}]}, r"\$noSuch"),
        ({"pipeline": [{"$project": {"x": {"$noSuch": 1}}}]}, r"\$noSuch"),
    ],
)
def test_a_query_that_the_server_refuses_is_said_in_its_words(
    things: Collection[dict[str, Any]], options: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    things.insert_one({"_id": 1})
    with pytest.raises(SourceError, match=rf"scan s: read .*things.*{said}"):
        read_rows(mongodb, options | more)


@pytest.mark.parametrize(
    "expression", [{"$toInt": "$v"}, {"$add": ["$v", 1]}, {"$dateFromString": {"dateString": "$v"}}]
)
def test_what_the_server_says_of_a_value_is_not_shown(
    things: Collection[dict[str, Any]], options: dict[str, Any], expression: dict[str, Any]
) -> None:
    things.insert_one({"_id": 1, "v": "private"})
    with pytest.raises(SourceError) as caught:
        read_rows(mongodb, options | {"pipeline": [{"$project": {"x": expression}}]})
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(("code", "configured"), [(2, False), (13, True), (241, True)])
def test_the_server_is_not_quoted_where_it_may_speak_of_values(code: int, configured: bool) -> None:
    with pytest.raises(SourceError) as caught, mapped("s", "read it", configured=configured):
        raise errors.OperationFailure("x", code, {"errmsg": "quotes SECRET", "codeName": "Odd"})
    assert "SECRET" not in str(caught.value)
    with pytest.raises(SourceError, match="the operator is wrong") as caught, mapped("s", "read it"):
        raise errors.OperationFailure("x", 2, {"errmsg": "the operator\n is wrong" + "!" * 1000})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("word", "nth"), [(b"hello", 1), (b"find", 1), (b"find", 2), (b"find", 3), (b"listCollections", 1), (b"getMore", 2)]
)
def test_a_connection_that_is_cut_at_any_command_is_an_outage(
    things: Collection[dict[str, Any]], mongodb_url: str, word: bytes, nth: int
) -> None:
    things.insert_many([{"_id": number} for number in range(2500)])
    parts = urlsplit(mongodb_url)
    with CutAt(parts.port or 0, word, nth) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}{parts.path}?directConnection=true&serverSelectionTimeoutMS=300"
        options = {"url": url, "collection": "things"}
        try:
            whole = len(read_rows(mongodb, options)) == 2500
        except SourceUnavailableError:
            whole = False
        assert whole != proxy.was_cut


class CutAt(Proxy):
    """A proxy that dies before it forwards the nth message to the server that holds a word."""

    def __init__(self, port: int, word: bytes, nth: int) -> None:
        super().__init__(port)
        self._word, self._left, self.was_cut = word, nth, False

    def passes(self, data: bytes) -> bool:
        self._left -= self._word in data
        if self._left > 0 and not self.was_cut:
            return True
        self.was_cut = True
        self.close()
        return False


@pytest.mark.crash
def test_a_server_that_dies_in_mid_scan() -> None:
    with MongoDB() as server:
        url = server.url("shop")
        with MongoClient[dict[str, Any]](url) as client:
            client["shop"]["things"].insert_many([{"_id": number, "v": "x" * 1000} for number in range(3000)])
        reader = SPEC.open(
            make_context({"url": url + "?serverSelectionTimeoutMS=200", "collection": "things"}, batch_rows=10)
        )
        batches = iter(reader.read(None))
        next(batches)
        server.kill()
        with pytest.raises(SourceUnavailableError, match="things"):
            list(batches)
        reader.close()


def test_a_document_too_deep_to_be_decoded_is_said_with_the_limit() -> None:
    data = b"\x05\x00\x00\x00\x00"
    for _ in range(5000):
        data = struct.pack("<i", len(data) + 8) + b"\x03a\x00" + data + b"\x00"
    with pytest.raises(RecordError, match="deeper than 200 levels"), mapped("s", "read it"):
        bson.decode(data)


def test_a_document_deeper_than_the_limit(things: Collection[dict[str, Any]], options: dict[str, Any]) -> None:
    value: list[Any] = []
    for _ in range(400):
        value = [value]
    things.insert_one({"_id": 1, "v": value})
    with pytest.raises(RecordError, match=r'document \{"\$numberInt":"1"\}: .*deeper than 200 levels'):
        read_rows(mongodb, options)


@pytest.mark.parametrize(
    ("value", "type_", "said"),
    [
        (Decimal128("1.555"), "decimal(10,2)", "has 3 digits after the point, decimal(10,2) holds 2"),
        (0.1, "decimal(10,0)", "has 1 digit after the point, decimal(10,0) holds 0"),
        (Decimal128("1.23E+10"), "decimal(10,2)", "has 11 digits before the point, decimal(10,2) holds 8"),
        (123456789, "decimal(10,2)", "has 9 digits before the point, decimal(10,2) holds 8"),
        (Decimal128("NaN"), "decimal(10,2)", "is not finite"),
        ("1.5", "decimal(10,2)", "is str, which is not exactly a decimal(10,2)"),
        (1.5, "int", "is float, which is not exactly a int"),
    ],
)
def test_a_value_that_is_not_of_its_type(
    things: Collection[dict[str, Any]], options: dict[str, Any], value: Any, type_: str, said: str
) -> None:
    things.insert_one({"_id": 1, "v": value})
    with pytest.raises(RecordError) as caught:
        read_rows(mongodb, options | {"columns": {"v": type_}})
    assert f"'v' {said}" in str(caught.value)


def _every_error() -> list[type[errors.PyMongoError]]:
    found: list[type[errors.PyMongoError]] = [errors.PyMongoError]
    for one in found:
        found += [sub for sub in one.__subclasses__() if sub not in found and sub.__module__ == "pymongo.errors"]
    return found


@pytest.mark.parametrize("kind", _every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_driver_is_mapped(kind: type[errors.PyMongoError]) -> None:
    made = _make(kind)
    with pytest.raises(DifferError, match="scan s: read it"), mapped("s", "read it"):
        raise made


def _make(kind: type[errors.PyMongoError]) -> errors.PyMongoError:
    for arguments in (({},), ("went wrong",), ({}, False)):
        try:
            return kind(*arguments)
        except (TypeError, AttributeError, KeyError):
            continue
    raise AssertionError(f"cannot make {kind.__name__}")


@pytest.mark.parametrize(
    ("code", "error", "hint"),
    [
        (239, SourceUnavailableError, "minSnapshotHistoryWindowInSeconds"),
        (251, SourceUnavailableError, "transactionLifetimeLimitSeconds"),
        (18, SourceUnavailableError, "password"),
        (43, SourceUnavailableError, "scan again"),
        (13, SourceError, "role read"),
        (4711, SourceError, "4711"),
    ],
)
def test_codes_of_the_server(code: int, error: type[SourceError], hint: str) -> None:
    with pytest.raises(error) as caught, mapped("s", "read it"):
        raise errors.OperationFailure("quotes SECRET", code, {"codeName": "Odd"})
    assert hint in str(caught.value)
    assert "SECRET" not in str(caught.value)
