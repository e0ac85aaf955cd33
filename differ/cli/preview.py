"""What a dry run would commit: some of the events as a table, and how many there are.

The events are taken while the cycle still has them; what is not shown is never turned into rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from differ.cli.table import Cell
from differ.cli.terminal import Terminal, count

if TYPE_CHECKING:
    from differ.formats.batch import EventBatch
    from differ.model import CycleResult


class Preview:
    """The first `limit` events of each source."""

    def __init__(self, terminal: Terminal, limit: int) -> None:
        self._terminal, self._limit = terminal, limit
        self._whole = not terminal.is_terminal
        self._rows: dict[str, list[Sequence[Cell]]] = {}

    def take(self, batches: Sequence[EventBatch]) -> None:
        """Keep the first events of a source's cycle."""
        from differ.cli.eventtable import cells
        from differ.formats.table import event_rows

        for batch in batches:
            rows = self._rows.setdefault(batch.source, [])
            left = self._limit - len(rows)
            if left > 0:
                found = event_rows(batch.slice(0, left), whole=self._whole)
                rows.extend(cells(row)[1:] for row in found)

    def print(self, result: CycleResult) -> None:
        """Show what was kept of the result's source."""
        rows = self._rows.pop(result.source, [])
        if not rows:
            return
        from differ.cli.eventtable import event_table

        event_table(self._terminal, with_scn=False).print(rows)
        if result.changes > len(rows):
            self._terminal.line(f"… and {count(result.changes - len(rows))} more events; --limit shows more")
