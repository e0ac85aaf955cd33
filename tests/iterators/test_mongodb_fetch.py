"""The thread that asks for the next batch: it gives all, raises what it met, and ends when nobody walks on."""

import threading
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from differ.errors import InterruptedScanError
from differ.iterators.mongodb.fetch import ahead

DOCUMENTS = 2000


@pytest.fixture
def collection(mongodb_url: str) -> Iterator[Collection[dict[str, Any]]]:
    """A collection of 2,000 documents."""
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        found = client.get_default_database()["orders"]
        found.insert_many([{"_id": number, "text": "x" * 50} for number in range(DOCUMENTS)])
        yield found


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "differ-fetch"]


def _nothing() -> None:
    """Nobody wants to end."""


def test_all_batches_come_in_order_and_the_thread_ends(collection: Collection[dict[str, Any]]) -> None:
    with ahead(lambda: collection.find_raw_batches(batch_size=100), _nothing) as batches:
        found = [document["_id"] for raw in batches for document in bson.decode_all(raw)]
    assert found == list(range(DOCUMENTS))
    assert not _threads()


def test_leaving_early_ends_the_thread_and_its_session_can_be_used_again(
    collection: Collection[dict[str, Any]],
) -> None:
    with collection.database.client.start_session() as session:
        with ahead(lambda: collection.find_raw_batches(batch_size=10, session=session), _nothing) as batches:
            assert len(bson.decode_all(next(batches))) == 10
            assert _threads()
        assert not _threads()
        assert collection.find_one({"_id": 7}, session=session)


def test_what_the_driver_raises_is_raised_to_whoever_walks(collection: Collection[dict[str, Any]]) -> None:
    with (
        ahead(lambda: collection.find_raw_batches({"$nonsense": 1}), _nothing) as batches,
        pytest.raises(OperationFailure),
    ):
        next(batches)
    assert not _threads()


def test_a_wish_to_end_is_heard_while_the_server_is_silent(collection: Collection[dict[str, Any]]) -> None:
    answer = threading.Event()

    def silent() -> Any:
        answer.wait()
        return collection.find_raw_batches(batch_size=10)

    def ended() -> None:
        answer.set()
        raise InterruptedScanError("scan: cancelled")

    with pytest.raises(InterruptedScanError), ahead(silent, ended) as batches:
        next(batches)
    assert not _threads()
