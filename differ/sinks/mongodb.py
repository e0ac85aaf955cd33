"""The `mongodb` sink: one collection a source, one document a key, and the checkpoint in the same database.

`_id` is the key: the value of a single key column, an embedded document of several. Writes are bulk replacements and
deletes by `_id`, in any order; the checkpoint is written after them, so a crash between the two is a replay, which ends
in the same state.

A bootstrap loads a fresh collection and renames it over the old one in one step. Where the server does not allow that
(a sharded collection), or as `replace: copy` asks, the rows are copied over and what is not among them is removed,
which readers can watch. The old collection's indexes and options are made for the new one first.

    differ_checkpoints: {_id: sink, owner, checkpoint, generation, staging: {source: collection}, swapping}

Invariant: whoever opened the sink last owns it (`owner`); others are refused with FencedError before and after they
write. Source: MongoDB's manual on bulk writes and renameCollection.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from differ.config.fields import Duration, Section
from differ.config.transit import mongo_arguments
from differ.errors import DifferError, FencedError, SinkError, SinkUnavailableError, UsageError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint, checkpoint_from_json
from differ.sinks.bsonvalues import bson_document, bson_value
from differ.sinks.contract import Change, Generation, RefusedError, SinkContext, StateSink
from differ.sinks.mongoswap import TRANSIENT, Fields, make_like, swap
from differ.sinks.places import by_source, place, spread, told_apart

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection
    from pymongo.database import Database

_OF_A_DOCUMENT = frozenset({2, 9, 14, 22, 52, 57, 121, 10334})
"""Server codes that refuse a whole call for what one document holds."""


class MongoOptions(Section):
    """The options of a `mongodb` sink."""

    url: str = Field(
        min_length=1, description="`mongodb://` or `mongodb+srv://`; its path is the database.",
        examples=["mongodb://127.0.0.1:27017/shop"], repr=False,
    )  # fmt: skip
    database: str | None = Field(None, description="Where the url does not say, or another one.", examples=["shop"])
    collection: str = Field("{source}", description="The collection; `{source}` stands for the source's name.")
    checkpoints: str = Field("differ_checkpoints", description="The collection that the checkpoint is kept in.")
    spread: str | None = Field(
        None, description="A field whose own fields are written at the top, such as `document` of a MongoDB source.",
        examples=["document"],
    )  # fmt: skip
    timestamps: Literal["date", "text"] = Field(
        "date", description="Moments as BSON dates, which end at milliseconds, or as ISO 8601 texts with all digits."
    )
    replace: Literal["rename", "copy"] = Field(
        "rename", description="How a bootstrap replaces: by renaming a loaded collection over, or by copying it over."
    )
    timeout_seconds: Duration = Field(60.0, alias="timeout", description="Of one call to the server.")
    connect_args: dict[str, Any] = Field(
        default_factory=dict, description="Passed to `pymongo.MongoClient` as they are.", repr=False
    )


class MongoSink(StateSink):
    """Replaces and deletes documents by `_id`; bound to one thread at a time."""

    Options: ClassVar[type[Section]] = MongoOptions
    options: MongoOptions

    def __init__(self, context: SinkContext, options: MongoOptions) -> None:
        super().__init__(context, options)
        self._client: MongoClient[Fields] | None = None
        self._database: Database[Fields] | None = None
        self._owner = uuid.uuid4().hex

    @classmethod
    def check(cls, context: SinkContext, options: MongoOptions) -> None:
        """Raise UsageError when two sources would share a collection."""
        told_apart(options.collection, context, option="collection")

    # -- life -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and become the owner of the sink's checkpoint."""
        self.close()
        self._owner = uuid.uuid4().hex
        with self._errors("open"):
            self._connect()
            self._book.update_one({"_id": self.context.name}, {"$set": {"owner": self._owner}}, upsert=True)

    def _connect(self) -> None:
        from pymongo import MongoClient
        from pymongo.errors import ConfigurationError

        milliseconds = int(self.options.timeout_seconds * 1000)
        given: Fields = {
            "serverSelectionTimeoutMS": min(10_000, milliseconds),
            "timeoutMS": milliseconds,
            "w": "majority",
        }
        given |= {"appname": "differ", "uuidRepresentation": "standard", "tz_aware": True}
        given |= mongo_arguments(self.options.url, self.options.connect_args)
        client: MongoClient[Fields] = MongoClient(self.options.url, **(given | self.options.connect_args))
        self._client = client
        try:
            name = self.options.database or client.get_default_database().name
        except ConfigurationError:
            raise UsageError(
                f"sink {self.context.name}: its url names no database", hint="give one as its path, or as 'database'"
            ) from None
        self._database = client[name]

    def load(self) -> Checkpoint | None:
        """The checkpoint that the database holds."""
        with self._errors("read the checkpoint"):
            found = (self._book.find_one({"_id": self.context.name}) or {}).get("checkpoint")
        return None if found is None else checkpoint_from_json(found)

    def close(self) -> None:
        """End the connections."""
        if self._client is not None:
            self._client.close()
        self._client = self._database = None

    # -- streaming --------------------------------------------------------------------------------------------

    def apply(self, upserts: Sequence[Change], deletes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Write the changes, then the checkpoint. RefusedError names the documents that the server would not take."""
        if upserts or deletes:
            self._check_owner()
            self._write([*deletes, *upserts], self._target)
        self._save(checkpoint)

    def _write(self, changes: Sequence[Change], collection: Any) -> None:
        from bson.errors import BSONError
        from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError

        refused: list[tuple[Change, str]] = []
        for source, own in by_source(changes):
            try:
                collection(source).bulk_write([self._operation(change) for change in own], ordered=False)
            except BulkWriteError as error:
                refused += self._refused(own, error.details)
            except (BSONError, DocumentTooLarge, OverflowError, ValueError, TypeError) as error:
                raise self._unsendable(source, type(error).__name__) from None
            except OperationFailure as error:
                if error.code in _OF_A_DOCUMENT:
                    raise self._unsendable(source, f"code {error.code}") from None
                raise self._told(f"write {source}", error) from None
            except PyMongoError as error:
                raise self._told(f"write {source}", error) from None
        if refused:
            raise RefusedError(
                f"sink {self.context.name}: the server refuses {len(refused)} documents", refused=refused,
                hint="the server's log or a write by hand says more; values are not repeated here",
            )  # fmt: skip

    def _unsendable(self, source: str, cause: str) -> RefusedError:
        """Neither driver nor server say which document it is: the caller halves the batch."""
        return RefusedError(f"sink {self.context.name}: write {source}: a document cannot be written: {cause}")

    def _operation(self, change: Change) -> Any:
        from pymongo import DeleteOne, ReplaceOne

        identity = self._identity(change)
        # $eq: so that a key that is a document with $-names, or a regular expression, is itself.
        where = {"_id": {"$eq": identity}}
        if change.document is None:
            return DeleteOne(where)
        exact = self.options.timestamps == "text"
        body = bson_document(change.document, change.types, exact=exact)
        body = spread(body, self.options.spread)
        return ReplaceOne(where, {"_id": identity} | {n: v for n, v in body.items() if n != "_id"}, upsert=True)

    def _identity(self, change: Change) -> Any:
        exact = self.options.timestamps == "text"
        values = {name: bson_value(value, change.types.get(name), exact=exact) for name, value in change.key.items()}
        return next(iter(values.values())) if len(values) == 1 else values

    def _refused(self, changes: Sequence[Change], details: Any) -> list[tuple[Change, str]]:
        errors: Sequence[Mapping[str, Any]] = details.get("writeErrors", ())
        if details.get("writeConcernErrors") or any(error["code"] in TRANSIENT for error in errors):
            raise SinkUnavailableError(f"sink {self.context.name}: the server could not keep what was written")
        return [(changes[error["index"]], _reason(error)) for error in errors]

    # -- bootstrap --------------------------------------------------------------------------------------------

    def begin_bootstrap(self, generation: Generation) -> None:
        """Make an empty collection for each source, or go on with those of this generation."""
        with self._errors("begin a bootstrap"):
            book = self._owned()
            stood = book.get("checkpoint") or {}
            if book.get("generation") == generation.id and stood.get("generation") == generation.id:
                self._still_there(book)
                return
            for name in (book.get("staging") or {}).values():
                self._db.drop_collection(name)
            staging = {source: self._staging_name(source, generation) for source in generation.sources}
            self._note({"generation": generation.id, "staging": staging, "swapping": False})
            for source, name in staging.items():
                make_like(self._db, name, place(self.options.collection, source))

    def apply_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Load rows beside the state that is there."""
        with self._errors("load a bootstrap"):
            book = self._owned()
            there = set(self._db.list_collection_names()) if book.get("swapping") else None
        staging = book.get("staging") or {}

        def loaded(source: str) -> Collection[Fields]:
            name = staging.get(source)
            # A row that comes again after its collection took its place belongs there.
            return self._target(source) if name is None or (there is not None and name not in there) else self._db[name]

        self._write(rows, loaded)
        self._save(checkpoint)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Put the loaded collections in place, one after the other, then write the checkpoint."""
        with self._errors("end a bootstrap"):
            book = self._owned()
            if book.get("generation") == generation.id and book.get("staging"):
                rename = self.options.replace == "rename"
                self._note({"swapping": True})
                for source, name in book["staging"].items():
                    swap(self._db, name, place(self.options.collection, source), rename=rename)
                self._note({"staging": {}, "swapping": False})
        self._save(checkpoint)

    def _still_there(self, book: Fields) -> None:
        missing = set((book.get("staging") or {}).values()) - set(self._db.list_collection_names())
        if missing and not book.get("swapping"):
            raise SinkError(
                f"sink {self.context.name}: {', '.join(sorted(missing))}: rows of the bootstrap were loaded there, and "
                "it is gone", hint=f"run 'differ consumers reset sink.{self.context.name}' and begin again",
            )  # fmt: skip

    def _staging_name(self, source: str, generation: Generation) -> str:
        digest = hashlib.sha256(f"{self.context.name}/{generation.id}".encode()).hexdigest()[:12]
        return f"{place(self.options.collection, source)}_differ_{digest}"

    # -- the checkpoint and its owner -------------------------------------------------------------------------

    @property
    def _db(self) -> Database[Fields]:
        if self._database is None:
            self._connect()
        if self._database is None:
            raise SinkError(f"sink {self.context.name}: it is not open")
        return self._database

    @property
    def _book(self) -> Collection[Fields]:
        return self._db[self.options.checkpoints]

    def _target(self, source: str) -> Collection[Fields]:
        return self._db[place(self.options.collection, source)]

    def _owned(self) -> Fields:
        found = self._book.find_one({"_id": self.context.name}) or {}
        if found.get("owner") != self._owner:
            raise self._fenced()
        return found

    def _check_owner(self) -> None:
        with self._errors("read the checkpoint"):
            self._owned()

    def _save(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None:
            with self._errors("write the checkpoint"):
                self._note({"checkpoint": checkpoint.to_json()})

    def _note(self, fields: Fields) -> None:
        own = {"_id": self.context.name, "owner": self._owner}
        if not self._book.update_one(own, {"$set": fields | {"at": datetime.now(UTC)}}).matched_count:
            raise self._fenced()

    def _fenced(self) -> FencedError:
        return FencedError(
            f"sink {self.context.name}: another process has opened it since, and owns it now",
            hint="let one process run a sink; give a second sink another name",
        )

    @contextmanager
    def _errors(self, operation: str) -> Iterator[None]:
        from pymongo.errors import PyMongoError

        try:
            yield
        except PyMongoError as error:
            raise self._told(operation, error) from None

    def _told(self, operation: str, error: Exception) -> DifferError:
        from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

        where = f"sink {self.context.name}: {operation}"
        code = error.code if isinstance(error, OperationFailure) else None
        passing = isinstance(error, PyMongoError) and (error.timeout or error.has_error_label("RetryableWriteError"))
        if isinstance(error, ConnectionFailure) or passing or code in TRANSIENT:
            why = str(error).partition(",")[0].partition(" (configured")[0]  # host:port and the system's word for it
            why = why if isinstance(error, ConnectionFailure) else type(error).__name__
            return SinkUnavailableError(f"{where}: the server cannot be reached: {why}")
        if code in (13, 18):
            return SinkError(f"{where}: the server refuses it ({code})", hint="check user, password and their rights")
        return SinkError(f"{where}: {type(error).__name__}{'' if code is None else f' {code}'}")


def _reason(error: Mapping[str, Any]) -> str:
    names = ", ".join(error.get("keyPattern", ()))
    return f"code {error['code']}" + (f", duplicate in the unique index of {names}" if error["code"] == 11000 else "")
