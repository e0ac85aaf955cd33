"""What the mongodb iterator refuses, and that every error of driver and server becomes one that helps."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient, errors
from pymongo.collection import Collection
from pymongo.database import Database

from differ.errors import ConfigError, DifferError, SourceError, SourceUnavailableError
from differ.iterators.mongodb import mongodb
from differ.iterators.mongodb.errors import mapped
from tests.iterators.scans import make_context, read_rows
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


@pytest.mark.parametrize("more", [{"filter": {"a": {"$noSuch": 1}}}, {"pipeline": [{"$noSuch": 1}]}])
def test_a_query_that_the_server_refuses(
    things: Collection[dict[str, Any]], options: dict[str, Any], more: dict[str, Any]
) -> None:
    things.insert_one({"_id": 1})
    with pytest.raises(SourceError, match=r"scan s: read .*things"):
        read_rows(mongodb, options | more)


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
