"""How far a scan is, on stderr while it runs: source, phase, rows, rows per second. Only for a person who looks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from differ.cli.terminal import Terminal, count
from differ.config.terminal import colour_wanted

if TYPE_CHECKING:
    from differ.cycle.procedure import Progress


class ScanProgress:
    """A live line for each source of a cycle. Use as a context manager; leaves nothing on the screen."""

    def __init__(self, terminal: Terminal) -> None:
        self._seen = terminal.errors_are_seen and not terminal.quiet
        self._display: Any = None
        self._tasks: dict[str, Any] = {}
        self._started = time.monotonic()

    def notice(self, progress: Progress) -> None:
        """Take what a cycle tells of itself."""
        if self._display is None:
            return
        seconds = max(time.monotonic() - self._started, 0.001)
        rows = count(progress.rows) + (f" of ~{count(progress.expected)}" if progress.expected else "") + " rows"
        fields = {"phase": progress.phase, "rows": rows, "rate": f"{progress.rows / seconds:,.0f} rows/s"}
        task = self._tasks.get(progress.source)
        if task is None:
            self._drop_waiting()
            task = self._display.add_task(progress.source, total=progress.expected, **fields)
            self._tasks[progress.source] = task
        total = max(progress.expected, progress.rows) if progress.expected else None
        self._display.update(task, completed=progress.rows, total=total, **fields)

    def __enter__(self) -> ScanProgress:
        if self._seen:
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Display

            self._display = Display(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TextColumn("{task.fields[phase]}", markup=False),
                BarColumn(bar_width=16),
                TextColumn("{task.fields[rows]}", markup=False),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True, no_color=not colour_wanted()),
                transient=True,
                redirect_stdout=False,
            )
            self._display.start()
            self._tasks[""] = self._display.add_task("", total=None, phase="reading", rows="", rate="")
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Clear the display; idempotent."""
        if self._display is not None:
            self._display.stop()
            self._display = None

    def _drop_waiting(self) -> None:
        waiting = self._tasks.pop("", None)
        if waiting is not None:
            self._display.remove_task(waiting)
