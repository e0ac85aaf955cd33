"""One consistent read of a MongoDB-protocol server, where it gives one, and the truth about it where it does not.

Tried in this order:

1. a snapshot session (replica sets and sharded clusters from 5.0), bounded by the server's history window;
2. a transaction with snapshot read concern, bounded by the server's transaction lifetime;
3. nothing: then `consistent` is False, and differ confirms deletes before it believes them.

A server may accept a snapshot session and then not isolate. So it is asked for a snapshot of 1970, which nobody keeps:
a server that answers instead of refusing does not look at the time, and is not believed.

Invariant: `consistent` is True only if every read through `session` sees one state.
Source: MongoDB's read concern "snapshot" and atClusterTime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bson import MinKey, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient, ReadPreference, errors
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern

from differ.config.transit import mongo_arguments
from differ.errors import ConfigError
from differ.iterators.mongodb.errors import mapped
from differ.iterators.mongodb.options import MongoOptions
from differ.model import Position

SELECTION_MILLIS_MAX = 10_000
SNAPSHOT_WIRE_VERSION = 13  # 5.0
Client = MongoClient[dict[str, Any]]
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_LONG_AGO = Timestamp(1, 1)
_NOBODY = {"_id": MinKey()}
"""What the first reads look for: one step in the index of `_id`. A server that keeps no order in mind may read all of a
collection for one document of it."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """An open read. session: to be passed to every call. position: where the server stood, where it says."""

    client: Client
    session: ClientSession
    store: str
    consistent: bool
    position: Position | None


def store_name(options: MongoOptions, source: str) -> str:
    """The server or cluster that the url means, without user and password. Raises ConfigError."""
    client = _make_client(options, source, connect=False)
    try:
        seeds = ",".join(sorted(f"{host}:{port}" for host, port in client.topology_description.server_descriptions()))
    finally:
        client.close()
    return f"mongodb://{seeds}"


@contextmanager
def open_snapshot(options: MongoOptions, source: str) -> Iterator[Snapshot]:
    """Connect and begin one read, as consistent as the server lets it be.

    Raises ConfigError for a bad url, SourceUnavailableError where no server answers within 10 seconds or it refuses
    the credentials.
    """
    client = _make_client(options, source, connect=True)
    try:
        with mapped(source, f"connect to {options.database}"):
            hello = client.admin.command("hello")
        with (
            mapped(source, f"begin to read {options.database}.{options.collection}"),
            _session(client, options, hello, source) as (session, consistent),
        ):
            yield Snapshot(
                client=client,
                session=session,
                store=store_name(options, source),
                consistent=consistent,
                position=_position(hello, session),
            )
    finally:
        client.close()


def _make_client(options: MongoOptions, source: str, *, connect: bool) -> Client:
    given: dict[str, Any] = {"serverSelectionTimeoutMS": SELECTION_MILLIS_MAX, "appname": "differ"}
    if "serverselectiontimeoutms" in options.url.lower():
        del given["serverSelectionTimeoutMS"]
    with mapped(source, "connect"):
        try:
            given |= mongo_arguments(options.url, options.connect_args)
            return MongoClient(options.url, connect=connect, **(given | dict(options.connect_args)))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"source {source}: url or connect_args: {error}") from error


@contextmanager
def _session(
    client: Client, options: MongoOptions, hello: Mapping[str, Any], source: str
) -> Iterator[tuple[ClientSession, bool]]:
    """A session and whether it isolates; its first read was done, so it stands at its point in time."""
    shared = "setName" in hello or hello.get("msg") == "isdbgrid"
    if shared and hello.get("maxWireVersion", 0) >= SNAPSHOT_WIRE_VERSION and _keeps_time(client, options):
        with client.start_session(snapshot=True) as session:
            if _begins(client, options, session, source):
                yield session, True
                return
    if shared:
        with client.start_session() as session:
            session.start_transaction(read_concern=ReadConcern("snapshot"), read_preference=ReadPreference.PRIMARY)
            begun = _begins(client, options, session, source)
            try:
                if begun:
                    yield session, True
                    return
            finally:
                _end(session)
    with client.start_session() as session:
        _begins(client, options, session, source)
        yield session, False


def _keeps_time(client: Client, options: MongoOptions) -> bool:
    """Whether the server minds the time of a snapshot read: one of 1970 must be refused."""
    read = {"level": "snapshot", "atClusterTime": _LONG_AGO}
    try:
        client[options.database].command(
            {"find": options.collection, "filter": _NOBODY, "limit": 1, "readConcern": read}
        )
    except errors.OperationFailure as error:
        return error.code in (239, 246)
    return False


def _begins(client: Client, options: MongoOptions, session: ClientSession, source: str) -> bool:
    """Do the first read; False where the server refuses to read this collection in this kind of session."""
    with mapped(source, f"read {options.database}.{options.collection}"):
        try:
            client[options.database][options.collection].find_one(_NOBODY, {"_id": 1}, session=session)
        except errors.OperationFailure as error:
            if error.code in _UNAUTHORIZED:
                raise
            return False
    return True


_UNAUTHORIZED = (13, 18, 8000)


def _end(session: ClientSession) -> None:
    """End a transaction that only read; where the server is gone, it has ended it already."""
    if session.in_transaction:
        try:
            session.abort_transaction()
        except errors.PyMongoError:
            return


def _position(hello: Mapping[str, Any], session: ClientSession) -> Position | None:
    time = session.operation_time
    if time is None:
        return None
    timeline = str(hello.get("setName", "cluster"))
    return Position(
        kind="mongodb", parts={timeline: time.time << 32 | time.inc}, text=f"{timeline} {time.time}.{time.inc}"
    )
