"""The `mongodb` iterator: one source's scan in the order in which the contract calls it.

Invariant: every document of a scan, and of its lookups, is read through the one session that was opened first; where
that isolates, `consistent` is True, and where it does not, it says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from uuid import UUID

import bson
import pyarrow as pa
import pyarrow.compute as pc
from pymongo import errors
from pymongo.collection import Collection

from differ.errors import IteratorError, SourceError
from differ.iterators.contract import Context, iterator
from differ.iterators.documents import DOCUMENTS_MAX, ID, DocumentRecords, id_text
from differ.iterators.mongodb.errors import mapped
from differ.iterators.mongodb.fetch import ahead
from differ.iterators.mongodb.options import take_options
from differ.iterators.mongodb.snapshot import CODEC, Snapshot, open_snapshot, store_name
from differ.model import Position
from differ.records.types import Schema

LOOKUP_KEYS_MAX = 1000
FETCH_DOCUMENTS = 1000
"""How many documents the driver asks for at a time; the server also cuts at 16 MiB."""
BATCH_BYTES = 16 * 1024 * 1024
"""Of BSON in one batch of records, unless the server's own batch has more."""


@iterator(name="mongodb", key=ID)
class mongodb:  # noqa: N801  (users write `iterator: mongodb`)
    """A collection of a MongoDB-protocol server, or what a pipeline makes of it."""

    def __init__(self, ctx: Context) -> None:
        """Connect, unless `ctx.handle` is an open snapshot, and see that the collection is there.

        Raises ConfigError for bad options, SourceUnavailableError, and SourceError for a collection that is not there.
        """
        self._ctx = ctx
        self._options = take_options(ctx)
        self._held = ExitStack()
        try:
            self._snapshot = self._shared() or self._held.enter_context(open_snapshot(self._options, ctx.source))
            self._check_collection()
        except BaseException:
            self.close()
            raise
        self.consistent = self._snapshot.consistent
        self.key = ctx.key or (ID,)
        self._records = DocumentRecords(ctx.source, self.key, self._options.projected)

    @staticmethod
    def store(ctx: Context) -> str:
        """The server or cluster, without user and password. Raises ConfigError."""
        return store_name(take_options(ctx), ctx.source)

    @staticmethod
    def connect(ctx: Context) -> AbstractContextManager[Snapshot]:
        """One consistent read that several sources of one server share, one after the other."""
        return open_snapshot(take_options(ctx), ctx.source)

    def schema(self) -> Schema:
        """Key, document and the configured columns; known without reading."""
        return self._records.schema

    def splits(self) -> Sequence[Any]:
        """One split: one cursor reads the whole collection."""
        return [None]

    def read(self, split: Any) -> Iterator[pa.RecordBatch]:
        """All documents, in batches; memory is one of them. Raises SourceUnavailableError when the cursor dies."""
        yield from self._batches({}, min(self._options.batch_rows or self._ctx.batch_rows, DOCUMENTS_MAX))

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterator[pa.RecordBatch] | None:
        """The documents of these `_id`s that are there; None where the key is another, which may not be indexed."""
        return self._lookup(keys) if self.key == (ID,) else None

    def position(self) -> Position | None:
        """The cluster time at which the scan began, or None where the server does not tell."""
        return self._snapshot.position

    def close(self) -> None:
        """Disconnect, unless the snapshot is shared."""
        self._held.close()

    def _lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(keys), LOOKUP_KEYS_MAX):
            wanted = [_bson(key[ID]) for key in keys[start : start + LOOKUP_KEYS_MAX]]
            texts = pa.array([id_text(value) for value in wanted], pa.string())
            for batch in self._batches({ID: {"$in": wanted}}, DOCUMENTS_MAX):
                # To the server 1, 1.0 and NumberLong(1) are one _id; to differ they are three keys.
                yield batch.filter(pc.is_in(batch.column(ID), value_set=texts))

    def _batches(self, also: Mapping[str, Any], rows: int) -> Iterator[pa.RecordBatch]:
        check = self._ctx.check_cancelled
        fetch = min(rows, FETCH_DOCUMENTS)
        documents: list[dict[str, Any]] = []
        size = 0
        with (
            mapped(self._ctx.source, f"read {self._name}", configured=not also),
            ahead(lambda: self._cursor(also, fetch), check) as raw_batches,
        ):
            for raw in raw_batches:
                check()
                if documents and (size + len(raw) > BATCH_BYTES or len(documents) + fetch > rows):
                    yield self._records.batch(documents)
                    documents, size = [], 0
                documents += bson.decode_all(raw, CODEC)
                size += len(raw)
            if documents:
                yield self._records.batch(documents)

    def _cursor(self, also: Mapping[str, Any], fetch: int) -> Any:
        options, session = self._options, self._snapshot.session
        if options.pipeline is not None:
            stages: list[Mapping[str, Any]] = [*options.pipeline, *([{"$match": also}] if also else [])]
            return self._collection.aggregate_raw_batches(stages, session=session, batchSize=fetch)
        conditions = [condition for condition in (options.filter, also) if condition]
        query = {"$and": conditions} if len(conditions) > 1 else dict(*conditions)
        return self._collection.find_raw_batches(query, options.projection, session=session, batch_size=fetch)

    @property
    def _collection(self) -> Collection[dict[str, Any]]:
        database = self._snapshot.client[self._options.database]
        return database.get_collection(self._options.collection, codec_options=CODEC)

    @property
    def _name(self) -> str:
        return f"{self._options.database}.{self._options.collection}"

    def _check_collection(self) -> None:
        """A collection that is not there reads as empty; that must not look like a store that was emptied."""
        database = self._snapshot.client[self._options.database]
        with mapped(self._ctx.source, f"list the collections of {self._options.database}"):
            try:
                names = database.list_collection_names(authorizedCollections=True, nameOnly=True)
            except errors.OperationFailure as error:
                if error.code == 13:
                    return  # Who may read one collection need not be allowed to list them.
                raise
        if self._options.collection not in names:
            near = difflib.get_close_matches(self._options.collection, names, n=3) or sorted(names)[:12]
            raise SourceError(
                f"scan {self._ctx.source}: there is no collection {self._options.collection!r}"
                f" in database {self._options.database!r}",
                hint=f"there is: {', '.join(near)}" if near else "the database has no collection; is it the right one?",
            )

    def _shared(self) -> Snapshot | None:
        handle = self._ctx.handle
        if handle is None:
            return None
        if not isinstance(handle, Snapshot) or handle.store != self.store(self._ctx):
            raise IteratorError(
                f"scan {self._ctx.source}: it does not read the store that its consistency group opened",
                hint="sources of a group need the same url",
            )
        return handle


def _bson(value: Any) -> Any:
    """A key as it was read back, as what the driver sends: UUIDs as binary of subtype 4."""
    if isinstance(value, UUID):
        return bson.Binary(value.bytes, 4)
    if isinstance(value, Mapping):
        return {name: _bson(item) for name, item in value.items()}
    return value
