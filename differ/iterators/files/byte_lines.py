"""A stream of bytes as lines, whatever reads it: a local file, fsspec or a decompressor.

Invariant: joined together again the lines are the stream, without a byte order mark at its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_CHUNK_BYTES = 1024 * 1024
_MARK = b"\xef\xbb\xbf"


def byte_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines, each with its line feed; the last one may have none. Memory is a chunk and the longest line."""
    parts: list[bytes] = []
    first = True
    while chunk := stream.read(_CHUNK_BYTES):
        if first:
            chunk, first = chunk.removeprefix(_MARK), False
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            parts.append(line + b"\n")
            yield b"".join(parts)
            parts.clear()
        if rest:
            parts.append(rest)
    if parts:
        yield b"".join(parts)
