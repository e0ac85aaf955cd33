"""The `files` sink: Parquet or NDJSON files in a folder, one or more for each window and source, named by SCN.

A file has one row a change: scn, op, stream, source, detected_at, key and document (null for a delete), the last two
structs in Parquet. The checkpoint lies beside the files and is written after them, so each event is there once when the
sink stands still; a reader who looks between a crash and the restart may see files that are made again.

Invariant: a file never changes after it has its name. Two processes are kept apart by the sink's lease alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from differ.config.fields import Section
from differ.errors import DifferError, RecordError, SinkUnavailableError, StorageError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.records.clock import datetime_text
from differ.records.normalize import to_arrow
from differ.records.types import LogicalType
from differ.sinks.console import change_object
from differ.sinks.contract import Change, EventSink, Generation, RefusedError, SinkContext
from differ.sinks.filebook import FileBook, in_bootstrap
from differ.sinks.net import key_identity
from differ.sinks.plain import canonical_json


class FilesOptions(Section):
    """The options of a `files` sink."""

    folder: str = Field(
        min_length=1, description="Where the files go; a relative one starts from the project.", examples=["exports"]
    )
    format: Literal["parquet", "ndjson"] = Field("parquet", description="The format of the files.")
    compression: Literal["zstd", "snappy", "none"] = Field("zstd", description="Of Parquet files.")


class FilesSink(EventSink):
    """Writes files; bound to one thread at a time."""

    Options: ClassVar[type[Section]] = FilesOptions
    options: FilesOptions
    keeps_checkpoint = True

    def __init__(self, context: SinkContext, options: FilesOptions) -> None:
        super().__init__(context, options)
        self._book = FileBook(context.project / options.folder, options.format)
        self._checkpoint: Checkpoint | None = None
        self._pages = 0
        self._uncommitted: list[Hashable] = []
        self._loading: Path | None = None

    def open(self) -> None:
        """Read where the sink stands, and remove the files behind it."""
        with self._errors("open"):
            self._checkpoint, self._pages = self._book.checkpoint()
            self._uncommitted, self._loading = [], None
            if isinstance(self._checkpoint, StreamCheckpoint):  # In a bootstrap there is none, and all files are whole.
                stream, scn = self._checkpoint.cursor.stream, self._checkpoint.cursor.scn
                for source in self._book.sources(stream):
                    self._book.drop_events(stream, source, scn, 0)

    def load(self) -> Checkpoint | None:
        """The checkpoint in the folder."""
        return self._checkpoint

    def publish(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Write a file for each source and window; then the checkpoint."""
        with self._errors("write"):
            for (source, _), run in groupby(changes, key=lambda change: (change.source, change.event.window.first)):
                own = list(run)
                stream, first, last = own[0].stream, own[0].scn, own[-1].scn
                self._book.drop_events(stream, source, self._stands_at(stream), first)
                self._book.write(self._book.events(stream, source, first, last), self._encoded(own))
            self._store(checkpoint)

    def begin_bootstrap(self, generation: Generation) -> None:
        """Keep the files of this generation up to the checkpoint; remove what others left."""
        with self._errors("begin a bootstrap"):
            resumed = in_bootstrap(self._checkpoint, generation)
            self._pages = self._pages if resumed else 0
            self._loading, self._uncommitted = self._book.loading(generation), []
            self._book.drop_loading(but=self._loading)
            self._book.drop_pages(self._loading, self._pages)

    def publish_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Write a file of rows for each source; those of an attempt that is made again are removed first."""
        with self._errors("load a bootstrap"):
            for source, run in groupby(rows, key=lambda change: change.source):
                own = list(run)
                if self._loading is None:
                    raise StorageError(f"load rows of {source}: no bootstrap has begun")
                self._rewind(key_identity(own[0]))
                number = self._pages + len(self._uncommitted)
                self._book.write(self._book.page(self._loading, source, number), self._encoded(own))
                self._uncommitted.append(key_identity(own[0]))
            if checkpoint is not None:
                self._pages += len(self._uncommitted)
                self._uncommitted = []
                self._store(checkpoint)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Give the folder its name, then store the checkpoint."""
        with self._errors("end a bootstrap"):
            self._book.complete(generation)
            for source in self._book.sources(generation.stream):
                # What a store told that was then restored from a backup: these SCNs come again, as other events.
                self._book.drop_events(generation.stream, source, 0, generation.scn + 1)
            self._pages, self._uncommitted, self._loading = 0, [], None
            self._store(checkpoint)

    def _rewind(self, first: Hashable) -> None:
        """Rows that were written since the checkpoint come again: in the same order, from the same row on."""
        if first in self._uncommitted and self._loading is not None:
            kept = self._uncommitted.index(first)
            self._book.drop_pages(self._loading, self._pages + kept)
            self._uncommitted = self._uncommitted[:kept]

    def _stands_at(self, stream: str) -> int:
        """The SCN up to which events are in files for good, in a stream."""
        checkpoint = self._checkpoint
        if not isinstance(checkpoint, StreamCheckpoint) or stream != checkpoint.cursor.stream:
            return 0
        return checkpoint.cursor.scn

    def _store(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None:
            self._book.store(checkpoint, self._pages)
            self._checkpoint = checkpoint

    def _encoded(self, changes: Sequence[Change]) -> bytes:
        if self.options.format == "ndjson":
            return b"".join(_line(change) for change in changes)
        try:
            table = change_table(changes)
        except RecordError as error:
            raise RefusedError(f"sink {self.context.name}: {error.message}", hint=error.hint) from None
        out = pa.BufferOutputStream()
        compression = None if self.options.compression == "none" else self.options.compression
        pq.write_table(table, out, compression=compression, write_page_checksum=True)
        data: bytes = out.getvalue().to_pybytes()
        return data

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise SinkUnavailableError(f"sink {self.context.name}: {what}: {error.message}", hint=error.hint) from error


def change_table(changes: Sequence[Change]) -> pa.Table:
    """Changes of one source as an Arrow table; documents in storage types, each field with its logical type.

    Raises RecordError for a value that does not fit the column's type.
    """
    first = changes[0]
    written = [change.types for change in changes if change.document is not None]  # A delete's are those of before.
    types: dict[str, LogicalType] = dict(first.types) if not written else {}
    for last, own in zip([None, *written], written, strict=False):
        if own is not last:
            types |= own
    keys = _structs([dict(change.key) for change in changes], {n: types[n] for n in first.key if n in types}, first)
    names = list(dict.fromkeys([*types, *(name for change in changes for name in change.document or ())]))
    rows = [{name: (change.document or {}).get(name) for name in names} for change in changes]
    documents = _structs(rows, {name: types[name] for name in names if name in types}, first)
    gone = pa.array([change.document is None for change in changes])
    documents = pa.StructArray.from_arrays(documents.flatten(), fields=list(documents.type), mask=gone)
    columns = {
        "scn": pa.array([change.scn for change in changes], pa.int64()),
        "op": pa.array([change.op for change in changes], pa.string()),
        "stream": pa.array([change.stream for change in changes], pa.string()),
        "source": pa.array([change.source for change in changes], pa.string()),
        "detected_at": pa.array([change.event.detected_at for change in changes], pa.timestamp("us", tz="UTC")),
        "key": keys,
        "document": documents,
    }
    return pa.table(columns)


def _structs(rows: list[dict[str, Any]], types: dict[str, LogicalType], change: Change) -> pa.StructArray:
    try:
        batch = to_arrow(rows, source=change.source, types=types)
    except DifferError as error:
        raise RecordError(error.message, hint=error.hint) from None
    if not batch.num_columns:
        return pa.array([{}] * len(rows), pa.struct([]))
    return pa.StructArray.from_arrays(batch.columns, fields=list(batch.schema))


def _line(change: Change) -> bytes:
    body = change_object(change) | {"detected_at": datetime_text(change.event.detected_at)}
    return (canonical_json(body) + "\n").encode()
