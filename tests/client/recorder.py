"""A consumer that writes down what it is told, and does what a test asks for at certain events."""

from collections.abc import Callable
from typing import Any

from differ.client import Checkpoint, Consumer, Next
from differ.model import ChangeEvent, Window

Act = Callable[[ChangeEvent], Next | None]


class Recorder(Consumer):
    """`calls` holds (callback, argument) in order: SCNs for events, windows and checkpoints, the text of errors."""

    def __init__(self, act: Act | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.events: list[ChangeEvent] = []
        self._act = act

    def of(self, name: str) -> list[Any]:
        """The arguments of all calls of a callback."""
        return [argument for called, argument in self.calls if called == name]

    @property
    def scns(self) -> list[int]:
        """The SCNs that were delivered, in order, replays as well."""
        return [event.scn for event in self.events]

    def on_start(self) -> None:
        self.calls.append(("start", None))

    def on_stop(self) -> None:
        self.calls.append(("stop", None))

    def on_window_start(self, window: Window) -> Next | None:
        self.calls.append(("window_start", (window.first, window.last)))
        return None

    def on_event(self, event: ChangeEvent) -> Next | None:
        self.events.append(event)
        self.calls.append(("event", event.scn))
        return self._act(event) if self._act else None

    def on_window_end(self, window: Window) -> Next | None:
        self.calls.append(("window_end", (window.first, window.last)))
        return None

    def on_checkpoint(self, checkpoint: Checkpoint) -> Next | None:
        self.calls.append(("checkpoint", checkpoint.cursor.scn))
        return None

    def on_rollback(self, checkpoint: Checkpoint) -> Next | None:
        self.calls.append(("rollback", checkpoint.cursor.scn))
        return None

    def on_error(self, error: Exception, event: ChangeEvent | None) -> Next | None:
        self.calls.append(("error", (str(error), event.scn if event else None)))
        return None
