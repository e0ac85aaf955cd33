"""Where a consumer begins, what is its own, and who keeps its checkpoints: one answer for a single consumer, another
for a member of a group. The run knows only this.

    assignment = positions.begin()         blocks until there is something to do
    while not positions.changed(): ...     deliver
        positions.save(checkpoint)
    positions.begin()                      again, after a change

Invariant: what `save` stored is what `begin` gives next, for whoever owns the same keys then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from differ.client.checkpoints import CheckpointStore, RelayCheckpoints
from differ.errors import RelayUnavailableError, ScnAheadError, StreamChangedError
from differ.formats.batch import EventBatch
from differ.formats.checkpoint import Checkpoint
from differ.formats.partitions import Partitions

log = logging.getLogger(__name__)

REPORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What to deliver. checkpoint: None for a consumer that is new. partitions: None for all. own: takes from a batch
    what was not processed yet, where partitions stand at different SCNs; None where all of it is."""

    checkpoint: Checkpoint | None
    partitions: Partitions | None = None
    own: Callable[[EventBatch], EventBatch] | None = None


class Positions(Protocol):
    """Called from the run's thread."""

    def begin(self) -> Assignment | None:
        """What to deliver from now on; None when told to stop before there was anything."""

    def changed(self) -> bool:
        """Whether the assignment is no longer the one that `begin` gave. Asked several times a second; cheap."""

    def check(self) -> None:
        """Raise FencedError when nothing may be delivered or made durable any more. Asked before each checkpoint."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint. Raises FencedError when what it speaks of belongs to another by now."""

    def close(self) -> None:
        """The run ends."""


class Alone:
    """A single consumer: everything is its own, and nothing ever changes.

    reports: tells the relay now and then how far the consumer is, when its checkpoints are kept elsewhere, so that
    the relay keeps what it has not read and shows its lag.
    """

    def __init__(
        self,
        store: CheckpointStore,
        partitions: Partitions | None,
        reports: RelayCheckpoints | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._partitions, self._reports, self._clock = store, partitions, reports, clock
        self._reported_at = clock()
        self._unreported: Checkpoint | None = None

    def begin(self) -> Assignment | None:
        """The stored checkpoint; the relay is told of it."""
        checkpoint = self._store.load()
        if self._reports is not None:
            self._unreported = checkpoint
            self._report()
        return Assignment(checkpoint=checkpoint, partitions=self._partitions)

    def changed(self) -> bool:
        """Never."""
        return False

    def check(self) -> None:
        """A single consumer has no lease to lose."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Store it; the relay is told at most every REPORT_SECONDS."""
        self._store.save(checkpoint)
        if self._reports is not None:
            self._unreported = checkpoint
            if self._clock() - self._reported_at >= REPORT_SECONDS:
                self._report()

    def close(self) -> None:
        """Tell the relay the last checkpoint."""
        if self._unreported is not None:
            self._report()

    def _report(self) -> None:
        """An older report only makes the relay keep more, so one that fails is repeated with the next checkpoint.

        A place that is not of the relay's stream is for the stream to refuse, which may be mended by a bootstrap.
        """
        assert self._reports is not None  # noqa: S101
        self._reported_at = self._clock()
        try:
            self._reports.save(self._unreported)
        except RelayUnavailableError as error:
            log.warning("report checkpoint: %s", error)
            return
        except (ScnAheadError, StreamChangedError) as error:
            log.info("report checkpoint: %s", error)
        self._unreported = None
