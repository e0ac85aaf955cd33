"""A stream of bytes as lines, whatever reads it: a local file, fsspec or a decompressor.

Invariants: joined together again the lines are the stream, without a byte order mark at its start; no line is longer
than LINE_BYTES_MAX, so a small file that unpacks into an endless one costs no more than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from differ.errors import RecordError

LINE_BYTES_MAX = 64 << 20
"""Four times the largest value that is meant to work."""
_CHUNK_BYTES = 1024 * 1024
_MARK = b"\xef\xbb\xbf"


def byte_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines, each with its line feed; the last one may have none. Memory is a chunk and the longest line.

    Raises RecordError for a line longer than LINE_BYTES_MAX.
    """
    parts: list[bytes] = []
    size = 0
    first = True
    while chunk := stream.read(_CHUNK_BYTES):
        if first:
            chunk, first = chunk.removeprefix(_MARK), False
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            parts.append(line + b"\n")
            yield b"".join(parts)
            parts.clear()
            size = 0
        if rest:
            parts.append(rest)
            size += len(rest)
            if size > LINE_BYTES_MAX:
                raise RecordError(f"it is longer than {LINE_BYTES_MAX >> 20} MiB")
    if parts:
        yield b"".join(parts)
