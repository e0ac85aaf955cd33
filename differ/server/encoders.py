"""Slices of events turned into the bytes of a body, one encoder for each answer.

    frames   application/vnd.differ.frames            many sources, what the Python client speaks
    ndjson   application/x-ndjson                     many sources; with control lines where asked for
    arrow    application/vnd.apache.arrow.stream      one source and schema; no byte at all without an event
    avro     application/avro                         the same

Invariant: an encoder keeps no event between two calls.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from differ.formats.arrow import ArrowStream
from differ.formats.avro import AvroContainer
from differ.formats.batch import EventBatch
from differ.formats.cursor import Cursor
from differ.formats.frames import MEDIA_TYPE, encode_frame
from differ.formats.ndjson import encode_line, event_lines
from differ.formats.registry import FORMATS

KIB = 1024


class Encoder(Protocol):
    """Makes the bytes of one body. slice_bytes: how much Arrow memory it should be given at a time.

    takes_segments: whether a whole segment file may pass instead of its slices.
    """

    slice_bytes: int
    takes_segments: bool

    def encode(self, batch: EventBatch, cursor: Cursor, page: str | None = None) -> bytes:
        """The bytes of some events. cursor: any of their window; page: where a bootstrap goes on after them."""

    def control(self, line: Mapping[str, Any]) -> bytes:
        """What stands between events for whoever asked for control lines."""

    def end(self) -> bytes:
        """What ends the body."""


class FramesEncoder:
    """One frame a slice. Frames carry their own cursors, so nothing else is needed."""

    slice_bytes = 4096 * KIB
    takes_segments = True

    def encode(self, batch: EventBatch, cursor: Cursor, page: str | None = None) -> bytes:
        """One frame."""
        return encode_frame(batch, cursor, page)

    def control(self, line: Mapping[str, Any]) -> bytes:
        """Nothing: frames have no lines."""
        return b""

    def end(self) -> bytes:
        """Nothing: frames end where they end."""
        return b""


class NdjsonEncoder:
    """One line an event."""

    slice_bytes = 256 * KIB
    takes_segments = False

    def encode(self, batch: EventBatch, cursor: Cursor, page: str | None = None) -> bytes:
        """The events' lines."""
        return b"".join(event_lines(batch))

    def control(self, line: Mapping[str, Any]) -> bytes:
        """The control line."""
        return encode_line(dict(line))

    def end(self) -> bytes:
        """Nothing."""
        return b""


class ArrowEncoder(FramesEncoder):
    """One IPC stream, begun with the first event."""

    slice_bytes = 1024 * KIB
    takes_segments = False

    def __init__(self) -> None:
        self._out = _Drained()
        self._stream: ArrowStream | None = None

    def encode(self, batch: EventBatch, cursor: Cursor, page: str | None = None) -> bytes:
        """The events as a record batch."""
        if self._stream is None:
            self._stream = ArrowStream(self._out, batch)
        self._stream.write(batch)
        return self._out.drain()

    def end(self) -> bytes:
        """The end marker, if the stream was begun."""
        if self._stream is not None:
            self._stream.close()
        return self._out.drain()


class AvroEncoder(FramesEncoder):
    """One object container without compression, begun with the first event."""

    slice_bytes = 256 * KIB
    takes_segments = False

    def __init__(self) -> None:
        self._out = _Drained()
        self._container: AvroContainer | None = None

    def encode(self, batch: EventBatch, cursor: Cursor, page: str | None = None) -> bytes:
        """The events as blocks of the container."""
        if self._container is None:
            self._container = AvroContainer(self._out, batch, "null")
        self._container.write(batch)
        return self._out.drain()


ENCODERS: Mapping[str, Callable[[], Encoder]] = {
    "ndjson": NdjsonEncoder,
    "arrow": ArrowEncoder,
    "avro": AvroEncoder,
    "frames": FramesEncoder,
}
MEDIA_TYPES = {name: FORMATS[name].media_type for name in ("ndjson", "arrow", "avro")} | {"frames": MEDIA_TYPE}
ONE_RUN = frozenset({"arrow", "avro"})
"""The formats whose bodies hold one source and one schema."""


class _Drained(io.BytesIO):
    """A file that only grows, and is emptied as it does."""

    def drain(self) -> bytes:
        found = self.getvalue()
        self.seek(0)
        self.truncate()
        return found
