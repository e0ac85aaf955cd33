"""Tables as plain text: fitted to a terminal's width, or one record a line with nothing cut where they are piped.

A cell is a text, or a list of texts: these stand below each other on a terminal, and are joined by `; ` in a pipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from differ.cli.fold import folded, width_of
from differ.cli.terminal import Terminal, clean

Cell = str | Sequence[str]
GAP = "  "
NARROW_WIDTH_MAX = 32
LAST_WIDTH_MIN = 24
OP_STYLES: Mapping[str, Mapping[str, Any]] = {
    "insert": {"fg": "green"},
    "update": {"fg": "yellow"},
    "delete": {"fg": "red"},
}
STATUS_STYLES: Mapping[str, Mapping[str, Any]] = {
    "committed": {"fg": "green"},
    "unchanged": {"dim": True},
    "held": {"fg": "yellow", "bold": True},
    "failed": {"fg": "red", "bold": True},
    "busy": {"fg": "yellow"},
    "dry-run": {"fg": "cyan"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table; `style` gives the colour of a cell by its text."""

    title: str
    right: bool = False
    style: Callable[[str], Mapping[str, Any]] | None = None


class Table:
    """Rows come in pages; the widths found for one page are kept as least widths of the next."""

    def __init__(self, terminal: Terminal, columns: Sequence[Column], *, header: bool = True) -> None:
        self._terminal = terminal
        self._columns = columns
        self._widths = [width_of(column.title) if header else 0 for column in columns]
        self._header = header

    def print(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Write a page of rows to stdout, after the titles if it is the first."""
        for line in self.lines(rows):
            self._terminal.line(line)

    def lines(self, rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
        """The lines of a page."""
        cells = [[self._parts(cell) for cell in row] for row in rows]
        for row in cells:
            for index, parts in enumerate(row):
                self._widths[index] = max(self._widths[index], *map(width_of, parts), 0)
        widths = self._fitted()
        if self._header:
            self._header = False
            titles = [[column.title] for column in self._columns]
            yield from self._record(titles, widths, lambda column, text: {"bold": True})
        for row in cells:
            yield from self._record(row, widths, lambda column, text: column.style(text) if column.style else {})

    def _parts(self, cell: Cell) -> list[str]:
        parts = [clean(cell)] if isinstance(cell, str) else [clean(part) for part in cell]
        return (parts or [""]) if self._terminal.is_terminal else ["; ".join(parts)]

    def _fitted(self) -> list[int]:
        if not self._terminal.is_terminal:
            return self._widths
        narrow = [min(width, NARROW_WIDTH_MAX) for width in self._widths[:-1]]
        rest = self._terminal.width - sum(narrow) - len(GAP) * len(narrow)
        return [*narrow, min(self._widths[-1], max(rest, LAST_WIDTH_MIN))]

    def _record(
        self, row: Sequence[list[str]], widths: list[int], style: Callable[[Column, str], Mapping[str, Any]]
    ) -> Iterator[str]:
        if self._terminal.is_terminal:
            pairs = zip(row, widths, strict=True)
            cells = [[line for part in parts for line in folded(part, width)] for parts, width in pairs]
        else:
            cells = [list(parts) for parts in row]
        for number in range(max(map(len, cells))):
            texts = [lines[number] if number < len(lines) else "" for lines in cells]
            styles = [style(column, text) for column, text in zip(self._columns, texts, strict=True)]
            yield self._joined(texts, widths, styles)

    def _joined(self, texts: list[str], widths: list[int], styles: list[Mapping[str, Any]]) -> str:
        line = ""
        pending = ""
        for column, text, width, style in zip(self._columns, texts, widths, styles, strict=True):
            space = " " * max(0, width - width_of(text))
            before, after = (space, "") if column.right else ("", space)
            if text:
                line += pending + before + self._terminal.styled(text, **style)
                pending = after + GAP
            else:
                pending += space + GAP
        return line
