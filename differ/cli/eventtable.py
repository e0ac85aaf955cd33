"""Change events as a table: SCN, op, source, key and what changed, from old to new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from differ.cli.table import OP_STYLES, Cell, Column, Table
from differ.cli.terminal import Terminal

if TYPE_CHECKING:
    from differ.formats.batch import EventBatch
    from differ.formats.table import EventRow

PAGE_ROWS = 200


def event_table(terminal: Terminal, *, with_scn: bool = True) -> Table:
    """A table whose rows are `cells`; without the SCN, their tail."""
    columns = [
        Column(title="scn", right=True),
        Column(title="op", style=_op_style),
        Column(title="source"),
        Column(title="key"),
        Column(title="change"),
    ]
    return Table(terminal, columns if with_scn else columns[1:])


def cells(row: EventRow) -> Sequence[Cell]:
    """The cells of one event."""
    return [str(row.scn), row.op, row.source, row.key, detail(row)]


def detail(row: EventRow) -> Cell:
    """What changed, each field a part of its own; or the row of an insert or delete."""
    return [str(change) for change in row.changes] or row.summary


def print_events(terminal: Terminal, batches: Iterable[EventBatch], *, at_once: bool = False) -> int:
    """Print events as they come, and return how many. at_once: each batch when it comes, not only full pages."""
    from differ.formats.table import event_rows

    table = event_table(terminal)
    total = 0
    page: list[Sequence[Cell]] = []
    try:
        for batch in batches:
            for row in event_rows(batch, whole=not terminal.is_terminal):
                page.append(cells(row))
                total += 1
                if len(page) == PAGE_ROWS:
                    table.print(page)
                    page = []
            if page and at_once:
                table.print(page)
                page = []
    finally:
        if page:
            table.print(page)
    return total


def _op_style(op: str) -> Mapping[str, Any]:
    return OP_STYLES.get(op, {})
