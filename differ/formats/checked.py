"""A JSON object in a file of its own or on a line of one, with a checksum before everything else:

    {"check":"0a1b2c3d",...}

The eight hex digits are the CRC-32 of the bytes that follow the comma, which finds every flipped bit. An object without
the field, as others write them, is taken as it is. Invariant: `read(write(body)) == body`.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from typing import IO, Any

SECTOR_BYTES = 512
_HEAD = re.compile(rb'\{"check":"([0-9a-f]{8})",')


def write(body: bytes) -> bytes:
    """A JSON object that has fields, with its checksum; what follows it (a newline) is covered too."""
    return b'{"check":"%08x",' % zlib.crc32(body[1:]) + body[1:]


def read(text: bytes) -> dict[str, Any]:
    """The object; raises ValueError where the text is none, or not what was written."""
    found = _HEAD.match(text)
    if found is not None and int(found[1], 16) != zlib.crc32(text[found.end() :]):
        raise ValueError("its checksum is not that of its text")
    body = json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("it is no object")
    if found is not None:
        del body["check"]
    return body


def lines(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file's lines, without a last one that was not synced when its writer died.

    Raises ValueError, which says the line's number, for any other that is not what was written.
    """
    for number, line in enumerate(file, start=1):
        if is_torn(line):
            return
        try:
            body = read(line)
        except ValueError as error:
            if is_lost(line) and not file.read(1):
                return
            raise ValueError(f"line {number} is not what was written: {error}") from error
        yield body


def is_lost(line: bytes) -> bool:
    """Whether it is what a loss of power leaves of a line that was not synced: a disk writes whole sectors, in any
    order, so zeros are at its begin or fill a sector. A bit that rots makes neither of a good line."""
    return line.startswith(b"\0") or bytes(SECTOR_BYTES) in line


def is_torn(line: bytes) -> bool:
    """Whether the last line of a file was not written to its end. Where only its newline is wrong, it was damaged."""
    if line.endswith(b"\n"):
        return False
    try:
        read(line[:-1] + b"\n")
    except ValueError:
        return True
    return False
