"""Frames: what the Python client speaks. Arrow for many sources in SCN order, made without touching an event.

    answer = frame*            frame = length (8 bytes, little-endian, unsigned) + Arrow IPC stream of that length

The stream's record batches have the columns of a segment (see `batch`), and its schema's metadata `differ.frame` is
JSON that says of which source, window and schema they are, and how a cursor inside them is made. A whole segment
passes through as it lies on disk: an IPC file is an IPC stream with a head and a foot, so only the schema message is
made anew. Frames that begin or end inside a segment, or are filtered, are encoded.

Invariants: one frame holds events of one source, one schema and one window; frames ascend by SCN (but for pages of a
bootstrap, whose events all have the SCN it is pinned at). Source: the Arrow IPC format; Databus' binary event buffer.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from differ.errors import CorruptionError, RelayUnavailableError
from differ.formats.batch import EventBatch
from differ.formats.cursor import Cursor
from differ.model import Window
from differ.records.arrow import schema_from_arrow

MEDIA_TYPE = "application/vnd.differ.frames"
LENGTH_BYTES = 8
COMPRESSED_BYTES_MIN = 65_536
CHUNK_BYTES = 1 << 20
_METADATA = b"differ.frame"
_MAGIC = b"ARROW1\0\0"
_CONTINUATION = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Some events, the cursor after the last of them, and while bootstrapping the page cursor after them."""

    batch: EventBatch
    cursor: Cursor
    page: str | None


def frame_head(batch: EventBatch, cursor: Cursor, page: str | None = None) -> bytes:
    """The schema message that begins a frame. Of the batch only what its segment shares is looked at.

    cursor: any cursor of the window; its chain and floors count.
    """
    schema: pa.Schema = batch.events.schema.with_metadata(_metadata(batch, cursor, page))
    return bytes(schema.serialize())


def _metadata(batch: EventBatch, cursor: Cursor, page: str | None) -> dict[bytes, bytes]:
    body = {
        "stream": batch.stream,
        "source": batch.source,
        "cycle": batch.cycle,
        "window": {"first": batch.window.first, "last": batch.window.last},
        "first_scn": batch.first_scn,
        "schema_id": batch.schema_id,
        "key": batch.schema.key,
        "before_key": batch.before_schema.key,
        "seen_unchanged_at": batch.seen_unchanged_at.isoformat() if batch.seen_unchanged_at else None,
        "detected_at": batch.detected_at.isoformat(),
        "baseline": batch.baseline,
        "chain": cursor.chain,
        "floors": cursor.floors,
    }
    if page is not None:
        body["page"] = page
    return {_METADATA: json.dumps(body, separators=(",", ":")).encode()}


def encode_frame(batch: EventBatch, cursor: Cursor, page: str | None = None) -> bytes:
    """The batch as one frame, compressed with LZ4 unless it is small."""
    events = batch.events.replace_schema_metadata(_metadata(batch, cursor, page))
    compression = "lz4" if events.nbytes >= COMPRESSED_BYTES_MIN else None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(events)
    body: bytes = sink.getvalue().to_pybytes()
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def raw_frame(path: Path, head: bytes) -> Iterator[bytes]:
    """The record batches of a whole segment file behind `head`, as one frame in chunks of at most CHUNK_BYTES.

    Nothing is decoded, and no more than a chunk is held. The file may be unlinked meanwhile. Raises CorruptionError for
    a file that is not Arrow IPC.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        first, end = _messages(mapped, path)
        yield (len(head) + end - first).to_bytes(LENGTH_BYTES, "little") + head
        for offset in range(first, end, CHUNK_BYTES):
            yield mapped[offset : min(offset + CHUNK_BYTES, end)]


def _messages(mapped: mmap.mmap, path: Path) -> tuple[int, int]:
    """Where, behind the schema message and before the footer, the record batches and the end marker lie."""
    size = len(mapped)
    begin = len(_MAGIC) + len(_CONTINUATION) + 4
    footer = int.from_bytes(mapped[size - 10 : size - 6], "little", signed=True)
    is_ipc = mapped[:8] == _MAGIC and mapped[8:12] == _CONTINUATION and mapped[size - 6 :] == _MAGIC[:6]
    first = begin + int.from_bytes(mapped[12:16], "little", signed=True)
    end = size - 10 - footer
    if not is_ipc or not begin < first <= end <= size or mapped[end - 8 : end] != _CONTINUATION + bytes(4):
        raise CorruptionError(f"read {path}: it is no Arrow IPC file", hint="run 'differ check'")
    return first, end


def read_frames(stream: BinaryIO) -> Iterator[Frame]:
    """Yield each record batch of each frame as it arrives; memory is one record batch.

    Raises RelayUnavailableError where the stream breaks off inside a frame, or is none.
    """
    while prefix := _read(stream, LENGTH_BYTES):
        if len(prefix) < LENGTH_BYTES:
            raise _broken("inside a length")
        body = _Body(stream, int.from_bytes(prefix, "little"))
        try:
            with pa.ipc.open_stream(pa.PythonFile(body, mode="r")) as reader:
                yield from _frames(reader)
        except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
            raise _broken(str(error)) from error
        body.end()


def _frames(reader: pa.RecordBatchStreamReader) -> Iterator[Frame]:
    head = json.loads(reader.schema.metadata[_METADATA])
    schema = pa.schema(list(reader.schema.field("after").type))
    before_schema = pa.schema(list(reader.schema.field("before").type))
    seen = head["seen_unchanged_at"]
    shared: dict[str, Any] = {
        "stream": head["stream"],
        "source": head["source"],
        "cycle": head["cycle"],
        "window": Window(first=head["window"]["first"], last=head["window"]["last"]),
        "first_scn": head["first_scn"],
        "schema_id": head["schema_id"],
        "schema": schema_from_arrow(schema).with_key(head["key"]),
        "before_schema": schema_from_arrow(before_schema).with_key(head["before_key"]),
        "seen_unchanged_at": datetime.fromisoformat(seen) if seen else None,
        "detected_at": datetime.fromisoformat(head["detected_at"]),
        "baseline": head["baseline"],
    }
    cursor = Cursor(stream=head["stream"], scn=head["window"]["first"], chain=head["chain"], floors=head["floors"])
    plain = reader.schema.remove_metadata()
    for events in reader:
        if not events.num_rows:
            continue
        batch = EventBatch(events=pa.RecordBatch.from_arrays(events.columns, schema=plain), **shared)
        last = head["first_scn"] + events.column("ordinal")[-1].as_py()
        yield Frame(batch=batch, cursor=cursor.at(last), page=head.get("page"))


class _Body:
    """The bytes of one frame, as a file that Arrow reads from."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream, self._left = stream, length
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        found = _read(self._stream, size)
        if len(found) < size:
            raise _broken("inside a frame")
        self._left -= size
        return found

    def readable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        self.closed = True

    def end(self) -> None:
        """Skip what Arrow left unread."""
        while self._left:
            self.read(min(self._left, CHUNK_BYTES))


def _read(stream: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end."""
    found = stream.read(size) if size else b""
    while len(found) < size:
        more = stream.read(size - len(found))
        if not more:
            break
        found += more
    return found


def _broken(where: str) -> RelayUnavailableError:
    return RelayUnavailableError(f"read frames: the answer broke off {where}", hint="ask again from the last cursor")
