"""The dead letters of a sink: `<state>/dead-letters/<sink>.jsonl`, written from the batches that are being written.

Invariant: a letter holds the event exactly as it came, so that a replay maps it again, by the mapping of that day.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from differ.client.deadletters import DeadLetters
from differ.client.events import Events
from differ.client.troubles import Identity, identity
from differ.errors import SinkError
from differ.model import ChangeEvent


def letters_of(state: Path, sink: str) -> DeadLetters:
    """The file of a sink's dead letters; `state` is the project's state folder."""
    return DeadLetters(state / "dead-letters" / f"{sink}.jsonl")


class LetterBox:
    """Finds the batch of a refused event among those that were not written yet."""

    def __init__(self, letters: DeadLetters, sink: str) -> None:
        self._letters, self._sink = letters, sink
        self._held: list[Events] = []

    def hold(self, events: Events) -> None:
        """Keep a batch at hand, until `forget`."""
        self._held.append(events)

    def forget(self) -> None:
        """What was held is written, or comes again."""
        self._held = []

    def put(self, refused: Sequence[tuple[ChangeEvent, str]]) -> None:
        """Write a letter for each event, synced. Raises StorageError. O(events held)."""
        reasons = {identity(event): reason for event, reason in refused}
        for events in self._held:
            for row, event in enumerate(events):
                reason = reasons.pop(identity(event), None)
                if reason is not None:
                    one = Events(events.batch.slice(row, 1), events.cursor.at(event.scn))
                    self._letters.add(self._sink, one, SinkError(reason), 1)
            if not reasons:
                return
        raise SinkError(f"sink {self._sink}: {_named(next(iter(reasons)))} was refused, and is not among what came")


def _named(name: Identity) -> str:
    return f"{name[2]} SCN {name[1]}"
