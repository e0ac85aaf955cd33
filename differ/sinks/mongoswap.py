"""Collections of a MongoDB-protocol server taking each other's place, for the end of a bootstrap.

Invariant: after `swap` the target holds what was loaded and nothing else, and the loaded collection is gone; done again
after a crash in its middle it ends the same. Renaming over is one step that readers cannot see; copying they can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

Fields: TypeAlias = dict[str, Any]

COPIED = 1_000
"""Documents of one step of a copy."""
TRANSIENT = frozenset({6, 7, 89, 91, 112, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})
"""Server codes that end by themselves: a host that is away, an election, a shutdown, a write conflict, a time limit."""


def make_like(database: Database[Fields], name: str, like: str) -> None:
    """An empty collection with the options and indexes of another, if there is one. What had the name is dropped."""
    database.drop_collection(name)
    database.create_collection(name, **database[like].options())
    for index in database[like].list_indexes():
        about = {key: value for key, value in index.items() if key not in ("v", "ns", "key")}
        if about["name"] != "_id_":
            database[name].create_index(list(index["key"].items()), **about)


def swap(database: Database[Fields], loaded: str, target: str, *, rename: bool) -> None:
    """Put `loaded` in the place of `target`. rename: in one step, where the server allows it.

    A collection that is not there any more took its place before. Raises PyMongoError.
    """
    from pymongo.errors import OperationFailure

    if loaded not in database.list_collection_names():
        return
    if rename:
        try:
            database[loaded].rename(target, dropTarget=True)
            return
        except OperationFailure as error:
            if error.code in TRANSIENT:
                raise
    _copy(database[loaded], database[target])
    database.drop_collection(loaded)


def _copy(loaded: Collection[Fields], target: Collection[Fields]) -> None:
    """Write every loaded document over the target's, then delete what was not among them."""
    from pymongo import ReplaceOne

    for page in _pages(loaded.find({}, batch_size=COPIED)):
        target.bulk_write([ReplaceOne({"_id": {"$eq": d["_id"]}}, d, upsert=True) for d in page], ordered=False)
    for page in _pages(target.find({}, {"_id": 1}, batch_size=COPIED)):
        keys = [document["_id"] for document in page]
        kept = {_text(document["_id"]) for document in loaded.find({"_id": {"$in": keys}}, {"_id": 1})}
        # Asked again one by one: to the server 1 and 1.0 are one key, which they are not by their texts.
        absent = [key for key in keys if _text(key) not in kept]
        if gone := [key for key in absent if loaded.find_one({"_id": {"$eq": key}}, {"_id": 1}) is None]:
            target.delete_many({"_id": {"$in": gone}})


def _pages(cursor: Any) -> Iterator[list[Fields]]:
    page: list[Fields] = []
    for document in cursor:
        page.append(document)
        if len(page) == COPIED:
            yield page
            page = []
    if page:
        yield page


def _text(identity: Any) -> str:
    from bson.json_util import CANONICAL_JSON_OPTIONS, dumps

    return dumps(identity, json_options=CANONICAL_JSON_OPTIONS)
