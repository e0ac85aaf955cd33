"""The `elasticsearch` sink: documents by key, in bulk, with the SCN as their version.

`_id` is the key's canonical text. `version_type: external` lets the server itself refuse what is older than what it
has: a replay's conflicts are no errors, they are counted. Of a deleted document the version is kept for
`index.gc_deletes` (60 s by default); a replay that is older than that brings the document back, until the replay comes
to the delete, which it does.

A bootstrap loads a fresh index, and an alias moves to it at the end (see `searchindices`); the checkpoint is a document
too (see `searchbook`). Invariant: the checkpoint is written after the documents that it stands for.
Source: Elasticsearch's bulk and index APIs; Debezium's and Kafka Connect's Elasticsearch sinks.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from differ.config.fields import Columns, Duration, Section, Size
from differ.errors import DifferError, SinkError, SinkUnavailableError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint, checkpoint_from_json
from differ.sinks.contract import Change, Generation, RefusedError, SinkContext, StateSink
from differ.sinks.extras import driver
from differ.sinks.places import place, spread, told_apart
from differ.sinks.plain import key_text, plain_document
from differ.sinks.searchreasons import field_at_fault

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from differ.sinks.searchbook import SearchBook
    from differ.sinks.searchindices import SearchIndices

log = logging.getLogger(__name__)

ID_BYTES_MAX = 512
_PASSING = frozenset({408, 429, 502, 503, 504})
_CALL_REFUSED = frozenset({400, 413})


class ElasticsearchOptions(Section):
    """The options of an `elasticsearch` sink."""

    url: Columns = Field(
        min_length=1, description="The server, or several of one cluster.", examples=["http://127.0.0.1:9200"],
        repr=False,
    )  # fmt: skip
    index: str = Field(
        "{source}", pattern=r"^[a-z0-9{][^A-Z\\/*?\"<> |,#:]*$",
        description="The alias that the documents are found under; `{source}` stands for the source's name.",
    )  # fmt: skip
    api: Literal["elasticsearch", "opensearch"] = Field(
        "elasticsearch", description="What the server speaks. `opensearch`: the same calls in plain JSON."
    )
    username: str | None = Field(None, description="With `password`.", examples=["differ"])
    password: str | None = Field(None, description="With `username`.", examples=["env:SEARCH_PASSWORD"], repr=False)
    api_key: str | None = Field(None, description="In place of both.", examples=["env:SEARCH_KEY"], repr=False)
    ca_certs: str | None = Field(None, description="A file of certificates that are trusted.")
    spread: str | None = Field(
        None, description="A field whose own fields are written at the top, such as `document` of a MongoDB source.",
        examples=["document"],
    )  # fmt: skip
    mappings: dict[str, Any] = Field(default_factory=dict, description="Of each index that is made.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Of each index that is made.")
    chunk_bytes: Size = Field(10 * 1024**2, alias="chunk", description="One request holds at most so much.")
    timeout_seconds: Duration = Field(60.0, alias="timeout", description="Of one request.")


class ElasticsearchSink(StateSink):
    """Indexes and deletes in bulk; bound to one thread at a time.

    conflicts: how many writes were older than what was there.
    """

    Options: ClassVar[type[Section]] = ElasticsearchOptions
    options: ElasticsearchOptions

    def __init__(self, context: SinkContext, options: ElasticsearchOptions) -> None:
        super().__init__(context, options)
        self.conflicts = 0
        self._client: Elasticsearch | None = None
        self._opened: tuple[SearchBook, SearchIndices] | None = None

    @classmethod
    def check(cls, context: SinkContext, options: ElasticsearchOptions) -> None:
        """Raise UsageError when two sources would share an index."""
        told_apart(options.index, context, option="index")

    # -- life -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and become the owner of the sink's checkpoint."""
        self.close()
        self._connect()

    def _connect(self) -> tuple[Elasticsearch, SearchBook, SearchIndices]:
        if self._client is not None and self._opened is not None:
            return self._client, *self._opened
        from differ.sinks.searchbook import SearchBook
        from differ.sinks.searchindices import SearchIndices

        with self._errors("open"):
            self.close()
            self._client = client = self._make_client()
            name, pattern = self.context.name, self.options.index
            book = SearchBook(client, f"{place(pattern, name)}-differ", name)
            book.take()
            options = self.options
            indices = SearchIndices(client, name, pattern, mappings=options.mappings, settings=options.settings)
            self._opened = book, indices
        return client, book, indices

    def _make_client(self) -> Elasticsearch:
        elasticsearch = driver("elasticsearch", extra="elasticsearch", sink=self.context.name)
        options = self.options
        given: dict[str, Any] = {"request_timeout": options.timeout_seconds, "max_retries": 0}
        if options.username is not None:
            given["basic_auth"] = (options.username, options.password or "")
        if options.api_key is not None:
            given["api_key"] = options.api_key
        if options.ca_certs is not None:
            given["ca_certs"] = str(self.context.project / options.ca_certs)
        if options.api == "opensearch":
            from differ.sinks.opensearch import OpenSearchNode

            given["node_class"] = OpenSearchNode
        client: Elasticsearch = elasticsearch.Elasticsearch(list(options.url), **given)
        return client

    def load(self) -> Checkpoint | None:
        """The checkpoint that the server holds."""
        _, book, _ = self._connect()
        found = book.fields.get("checkpoint")
        return None if found is None else checkpoint_from_json(found)

    def close(self) -> None:
        """End the connections."""
        if self._client is not None:
            self._client.close()
        self._client = self._opened = None

    # -- streaming --------------------------------------------------------------------------------------------

    def apply(self, upserts: Sequence[Change], deletes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Write the changes, then the checkpoint. RefusedError names the documents that the server would not take."""
        _, book, indices = self._connect()
        changes = [*deletes, *upserts]
        if changes:
            with self._errors("look at the indices"):
                book.check()
                names = self._ready(changes, book, indices)
            self._write(changes, names.__getitem__, alias=True)
        self._save(checkpoint)

    def _ready(self, changes: Sequence[Change], book: SearchBook, indices: SearchIndices) -> dict[str, str]:
        """The alias of each source; a new source gets one. An alias that was there once and is not is an error."""
        known = set(book.fields.get("sources", ()))
        places = {(change.source, change.stream) for change in changes}
        names = {source: indices.ready(source, stream, known=source in known) for source, stream in places}
        if names.keys() - known:
            book.note(sources=sorted(known | names.keys()))
        return names

    def _write(self, changes: Sequence[Change], index: Callable[[str], str], *, alias: bool) -> None:
        from elasticsearch import ApiError, helpers

        client, _, _ = self._connect()
        actions = (self._action(change, index(change.source)) for change in changes)
        refused: list[tuple[Change, str]] = []
        conflicts = 0
        results = helpers.streaming_bulk(
            client, actions, chunk_size=max(1, len(changes)), max_chunk_bytes=self.options.chunk_bytes,
            raise_on_error=False, max_retries=0,
            # An index that was removed is not made again in silence, without what was in it.
            require_alias=alias,
        )  # fmt: skip
        with self._errors("write"):
            try:
                for change, (done, item) in zip(changes, results, strict=True):
                    if done:
                        continue
                    ((_, result),) = item.items()
                    if result["status"] == 409:
                        conflicts += 1
                    elif reason := self._reason(change, result):
                        refused.append((change, reason))
            except ApiError as error:
                if error.meta.status in _CALL_REFUSED:
                    # Nobody says for which document; the caller halves the batch.
                    raise RefusedError(
                        f"sink {self.context.name}: the server refuses a request: {_kind(error)}"
                    ) from None
                raise
        if conflicts:
            self.conflicts += conflicts
            log.info("sink %s: %d writes were older than what is there", self.context.name, conflicts)
        if refused:
            raise RefusedError(
                f"sink {self.context.name}: the server refuses {len(refused)} documents", refused=refused,
                hint="mostly a field whose values are of two types: see its mapping, or give the sink 'mappings'",
            )  # fmt: skip

    def _action(self, change: Change, index: str) -> dict[str, Any]:
        action: dict[str, Any] = {
            "_op_type": "delete", "_index": index, "_id": identity(change), "version": change.scn,
            "version_type": "external",
        }  # fmt: skip
        if change.document is not None:
            body = spread(plain_document(change.document, change.types, "simple"), self.options.spread)
            body.pop("_id", None)
            action |= {"_op_type": "index", "_source": body}
        return action

    def _reason(self, change: Change, result: dict[str, Any]) -> str | None:
        """Why a document is refused, without its values; None for a delete of what is not there."""
        status, error = result["status"], result.get("error")
        if status == 404 and error is None:
            return None
        kind = error.get("type", "unknown") if isinstance(error, dict) else "unknown"
        if kind == "index_not_found_exception":
            indices = self._connect()[2]
            indices.forget()
            raise indices.gone(change.source)
        if status in _PASSING or status >= 500:
            raise SinkUnavailableError(f"sink {self.context.name}: the server cannot take more now: {kind}")
        fault = field_at_fault(error)
        return f"status {status}, {kind}" + (f": {fault}" if fault else "")

    # -- bootstrap --------------------------------------------------------------------------------------------

    def begin_bootstrap(self, generation: Generation) -> None:
        """Make an empty index for each source, or go on with those of this generation."""
        _, book, indices = self._connect()
        with self._errors("begin a bootstrap"):
            book.check()
            stood = book.fields.get("checkpoint") or {}
            if book.fields.get("generation") == generation.id and stood.get("generation") == generation.id:
                if missing := indices.missing((book.fields.get("staging") or {}).values()):
                    raise SinkError(
                        f"sink {self.context.name}: {', '.join(missing)}: rows of the bootstrap were loaded there, and "
                        f"it is gone", hint=f"run 'differ consumers reset sink.{self.context.name}' and begin again",
                    )  # fmt: skip
                return
            indices.sweep(generation.sources)
            staging = indices.stage(generation)
            book.note(generation=generation.id, staging=staging)
            indices.begin(generation, staging)

    def apply_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Load rows beside the state that is there."""
        _, book, _ = self._connect()
        with self._errors("load a bootstrap"):
            book.check()
        self._write(rows, book.fields["staging"].__getitem__, alias=False)
        self._save(checkpoint)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Move the aliases to the loaded indices, write the checkpoint, remove the old ones."""
        _, book, indices = self._connect()
        with self._errors("end a bootstrap"):
            book.check()
            indices.switch(book.fields["staging"])
            book.note(sources=sorted({*book.fields.get("sources", ()), *generation.sources}))
            self._save(checkpoint)
            indices.sweep(generation.sources)

    # -- how --------------------------------------------------------------------------------------------------

    def _save(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None:
            _, book, _ = self._connect()
            with self._errors("write the checkpoint"):
                book.note(checkpoint=checkpoint.to_json())

    @contextmanager
    def _errors(self, operation: str) -> Iterator[None]:
        elasticsearch = driver("elasticsearch", extra="elasticsearch", sink=self.context.name)
        try:
            yield
        except (elasticsearch.ApiError, elasticsearch.TransportError) as error:
            raise self._told(operation, error) from None
        except ValueError as error:
            raise SinkError(f"sink {self.context.name}: {operation}: {error}") from None

    def _told(self, operation: str, error: Exception) -> DifferError:
        from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, UnsupportedProductError

        where = f"sink {self.context.name}: {operation}"
        if isinstance(error, UnsupportedProductError):
            return SinkError(f"{where}: the server is no Elasticsearch", hint="for OpenSearch: api: opensearch")
        if isinstance(error, ApiError):
            status = error.meta.status
            if status in _PASSING or status >= 500:
                return SinkUnavailableError(f"{where}: the server cannot take it now: {_kind(error)}")
            if status in (401, 403):
                return SinkError(f"{where}: the server refuses it: {status}", hint="check the credentials' rights")
            return SinkError(f"{where}: the server refuses it: {_kind(error)}")
        if isinstance(error, ConnectionError | ConnectionTimeout):
            hosts = ", ".join(urlsplit(url).netloc.rpartition("@")[2] for url in self.options.url)
            return SinkUnavailableError(f"{where}: the server cannot be reached: {hosts}: {type(error).__name__}")
        return SinkError(f"{where}: {type(error).__name__}")


def identity(change: Change) -> str:
    """The `_id` of a change: the key's canonical text, or its hash where that is longer than an `_id` may be."""
    text = key_text(change)
    data = text.encode()
    return text if len(data) <= ID_BYTES_MAX else f"sha256:{hashlib.sha256(data).hexdigest()}"


def _kind(error: Any) -> str:
    return f"{error.meta.status} {error.error}" if error.error else str(error.meta.status)
