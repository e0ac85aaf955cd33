"""What the fast CSV parser does not tell: the header, line numbers, and a quote that is never closed.

All but the header is only asked once something is wrong, so it reads the file again with Python's parser.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from differ.errors import SourceError
from differ.iterators.files.byte_lines import byte_lines
from differ.iterators.files.place import Place, reading

_FIELD_CHARACTERS_MAX = 1 << 30


class QuoteCounter(io.RawIOBase):
    """A stream that counts the quotes it hands on: an odd number in all means that one may never be closed.

    Arrow reads ahead in a thread of its own, also when nobody wants the rest. `end` makes that thread see the end, and
    returns when it is outside, so that the stream may be closed and the interpreter may go.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._turn = threading.Lock()
        self._is_over = False
        self.quotes = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the stream; none after `end`."""
        with self._turn:
            if self._is_over:
                return b""
            data: bytes = self._stream.read(size) if size >= 0 else self._stream.read()
            self.quotes += data.count(b'"')
            return data

    def end(self) -> None:
        """Hand on nothing more; idempotent."""
        with self._turn:
            self._is_over = True


def header_names(place: Place, delimiter: str) -> tuple[str, ...]:
    """The names in the first line. Raises SourceError where there is none, or a name is empty or there twice."""
    with reading(place), _rows(place, delimiter) as rows:
        names = next((row for row in rows if row), None)
    if names is None:
        raise SourceError(
            f"read {place.name}: it is empty, not even a header is there",
            hint="write the header also where there are no rows, or set column_names",
        )
    for name in names:
        if not name or names.count(name) > 1:
            what = f"the name {name!r} is there twice" if name else "a column has no name"
            raise SourceError(f"read {place.name}: line 1: {what}", hint="set column_names and header: true to rename")
    return tuple(names)


def line_of_bad_count(place: Place, delimiter: str, expected: int) -> int | str:
    """The line on which the first row without `expected` fields begins."""
    with _rows(place, delimiter) as rows:
        line = 1
        for row in rows:
            if row and len(row) != expected:
                return line
            line = rows.line_num + 1
    return "?"


def line_of_row(place: Place, delimiter: str, index: int) -> int | str:
    """The line on which a row begins; `index` counts from 0, the header too, empty lines not."""
    with _rows(place, delimiter) as rows:
        line, count = 1, 0
        for row in rows:
            if row and count == index:
                return line
            count += bool(row)
            line = rows.line_num + 1
    return "?"


def unclosed_quote(place: Place, delimiter: str) -> int | None:
    """The line on which the quote stands that is open at the end of the file, or None where all are closed."""
    with _rows(place, delimiter, strict=True) as rows:
        line = 1
        try:
            for _ in rows:
                line = rows.line_num + 1
        except csv.Error as error:
            return line if "unexpected end of data" in str(error) else None
    return None


@contextmanager
def _rows(place: Place, delimiter: str, *, strict: bool = False) -> Iterator[Any]:
    csv.field_size_limit(_FIELD_CHARACTERS_MAX)
    with place.open_text() as stream:
        lines = (line.decode(errors="replace") for line in byte_lines(stream))
        yield csv.reader(lines, delimiter=delimiter, strict=strict)
