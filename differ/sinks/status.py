"""What a sink did and does, for `differ modules list`, `/v1/modules` and metrics. One thread writes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from differ.errors import DifferError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint
from differ.sinks.contract import Change


def told(sink: str, text: str) -> str:
    """A line of the log about a sink: its name stands in it once."""
    return text if text.startswith(f"sink {sink}: ") else f"sink {sink}: {text}"


@dataclass(kw_only=True)
class SinkStatus:
    """Counts since the sink was started.

    events: that came. upserts, deletes: that were written (of several changes of a key in one batch a sink that holds
    state is given the last). unmapped: events that led to nothing. refused: records put aside. leads: whether this
    process writes the sink now. down: why the destination or relay cannot be reached, since `down_since` (of a
    monotonic clock).
    """

    events: int = 0
    upserts: int = 0
    deletes: int = 0
    batches: int = 0
    unmapped: int = 0
    refused: int = 0
    bootstraps: int = 0
    checkpoint: Checkpoint | None = None
    leads: bool = False
    down: str | None = None
    down_since: float | None = None
    unknown_columns: tuple[str, ...] = ()
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def written(self, changes: Sequence[Change]) -> None:
        """Count a write that succeeded."""
        deletes = sum(1 for change in changes if change.document is None)
        self.deletes += deletes
        self.upserts += len(changes) - deletes
        self.batches += 1

    def is_down(self, error: DifferError) -> None:
        """The destination cannot be reached."""
        self.down = error.message
        if self.down_since is None:
            self.down_since = self.clock()

    def is_up(self) -> float | None:
        """It answered. Returns for how many seconds it had not, None where it was not down."""
        since, self.down, self.down_since = self.down_since, None, None
        return None if since is None else self.clock() - since

    def to_json(self) -> dict[str, Any]:
        """The counts as a JSON object; `scn` is of the last checkpoint."""
        checkpoint = self.checkpoint
        since = self.down_since
        return {
            "events": self.events,
            "upserts": self.upserts,
            "deletes": self.deletes,
            "batches": self.batches,
            "unmapped": self.unmapped,
            "refused": self.refused,
            "bootstraps": self.bootstraps,
            "bootstrapping": isinstance(checkpoint, BootstrapCheckpoint),
            "scn": None if checkpoint is None else checkpoint.cursor.scn,
            "down": self.down,
            "down_seconds": None if since is None else round(self.clock() - since, 3),
            "unknown_columns": list(self.unknown_columns),
        }
