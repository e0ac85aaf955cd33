"""Records that a destination will never take: found among the others, and put aside or stopped at.

    refused [a b c d e f g h]     halves are written on their own until what is refused is one record
            [a b c d] ok  [e f g h] refused
                          [e f] refused  [g h] ok
                          [e] ok  [f] refused -> dead letter

Invariant: the others are written, in their order, and the checkpoint comes after the dead letters are on disk. When
more than `most` of one write are refused it is not the records: the sink stops, and nothing is put aside.
Source: Kafka Connect's dead letter queue (KIP-298).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from differ.config.sink import RefusedSettings
from differ.errors import SinkError
from differ.formats.checkpoint import Checkpoint
from differ.model import ChangeEvent
from differ.sinks.contract import Change, RefusedError

Write: TypeAlias = Callable[[Sequence[Change], Checkpoint | None], None]
Refused: TypeAlias = tuple[ChangeEvent, str]


class DeadLetterBox(Protocol):
    """Where refused events are kept."""

    def put(self, refused: Sequence[Refused]) -> None:
        """Make them durable. The same event may come again."""


class Refusals:
    """What becomes of refused records of one sink."""

    def __init__(self, name: str, settings: RefusedSettings, box: DeadLetterBox) -> None:
        self._name, self._settings, self._box = name, settings, box

    def put_aside(self, refused: Sequence[Refused]) -> None:
        """Make dead letters of the events. Raises SinkError where the settings say halt, or when there are too many."""
        if not refused:
            return
        event, reason = refused[0]
        place = f"{event.source} SCN {event.scn}"
        if self._settings.action == "halt":
            raise SinkError(
                f"sink {self._name}: {place}: {reason}",
                hint="mend the record or the destination, or set refused: {action: dead-letter}",
            )
        if len(refused) > self._settings.most:
            raise self._too_many(f"{place}: {reason}")
        self._box.put(refused)

    def write(self, write: Write, changes: Sequence[Change], checkpoint: Checkpoint | None) -> int:
        """Write the changes and the checkpoint; refused ones are put aside. Returns how many those are.

        Raises what `write` raises, but for RefusedError. Cost where k of n are refused: about k * log2(n) writes.
        """
        try:
            write(changes, checkpoint)
            return 0
        except RefusedError as error:
            refused = self._isolate(write, changes, error)
        self.put_aside([(change.event, reason) for change, reason in refused])
        if checkpoint is not None:
            write((), checkpoint)
        return len(refused)

    def _isolate(self, write: Write, changes: Sequence[Change], error: RefusedError) -> list[tuple[Change, str]]:
        """Those of the changes that are refused; the others are written, in order."""
        if error.refused:
            refused = list(error.refused)
        elif not changes:
            raise SinkError(f"sink {self._name}: {error.message}", hint=error.hint)
        elif len(changes) == 1:
            refused = [(changes[0], error.message)]
        else:
            refused = []
            half = len(changes) // 2
            for part in (changes[:half], changes[half:]):
                try:
                    write(part, None)
                except RefusedError as cause:
                    refused += self._isolate(write, part, cause)
                    self._check(refused)
        self._check(refused)
        return refused

    def _check(self, refused: Sequence[tuple[Change, str]]) -> None:
        if len(refused) > self._settings.most:
            change, reason = refused[0]
            raise self._too_many(f"{change.source} SCN {change.scn}: {reason}")

    def _too_many(self, example: str) -> SinkError:
        return SinkError(
            f"sink {self._name}: more than {self._settings.most} records of one batch are refused, such as {example}",
            hint="it is not the records: mend the mapping or the destination, then start the sink again",
        )
