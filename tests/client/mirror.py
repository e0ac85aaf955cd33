"""A destination in memory: rows by source and key, each marked with the generation it came in. It replaces."""

from collections.abc import Callable
from typing import Any

from differ.client import Checkpoint, Consumer, Events, Next
from differ.client.bootstrapping import Bootstrap
from differ.formats.partitions import Partitions
from differ.model import ChangeEvent

Key = tuple[str, str]
Hook = Callable[[str], None]


class Store:
    """Checkpoints in memory, which a crash leaves as they are."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint | None = None

    def load(self) -> Checkpoint | None:
        return self.checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint


class Mirror(Consumer):
    """Applies all that it is told to `rows` at once, so what a crash leaves is whatever was applied before it.

    rows: (source, repr of the key) -> (row, generation it came in, hash of its key). hook: called with the name of each
    callback before anything is done, to act at that moment, or to raise.
    """

    def __init__(self, hook: Hook = lambda name: None) -> None:
        self.rows: dict[Key, tuple[dict[str, Any], str, int]] = {}
        self.generation = ""
        self.calls: list[tuple[str, Any]] = []
        self._hook = hook

    def state(self, source: str) -> list[dict[str, Any]]:
        """The rows of a source by key."""
        return [self.rows[key][0] for key in sorted(self.rows) if key[0] == source]

    def of(self, name: str) -> list[Any]:
        """The arguments of all calls of a callback."""
        return [argument for called, argument in self.calls if called == name]

    def _called(self, name: str, argument: Any) -> None:
        self._hook(name)
        self.calls.append((name, argument))

    def on_events(self, events: Events) -> Next | None:
        self._called("events", (events.source, len(events)))
        self._apply(events)
        return None

    def on_bootstrap_start(self, bootstrap: Bootstrap) -> Next | None:
        self._called("bootstrap_start", bootstrap)
        self.generation = bootstrap.generation
        return None

    def on_bootstrap_events(self, events: Events) -> Next | None:
        self._called("bootstrap_events", (events.source, len(events)))
        self._apply(events)
        return None

    def on_bootstrap_end(self, bootstrap: Bootstrap) -> Next | None:
        self._called("bootstrap_end", bootstrap)
        assert bootstrap.generation == self.generation
        for key, (_, generation, hashed) in list(self.rows.items()):
            is_old = key[0] in bootstrap.sources and generation != bootstrap.generation
            if is_old and is_in(bootstrap.partitions, hashed):
                del self.rows[key]
        return None

    def on_checkpoint(self, checkpoint: Checkpoint) -> Next | None:
        self._called("checkpoint", checkpoint)
        return None

    def on_rollback(self, checkpoint: Checkpoint) -> Next | None:
        self._called("rollback", checkpoint)
        return None

    def _apply(self, events: Events) -> None:
        hashes = events.batch.events.column("partition").to_pylist()
        for event, hashed in zip(events, hashes, strict=True):
            key = (event.source, key_text(event))
            if event.after is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = (dict(event.after), self.generation, hashed)


def key_text(event: ChangeEvent) -> str:
    """A key that sorts."""
    return repr(sorted(event.key.items()))


def is_in(partitions: Partitions | None, hashed: int) -> bool:
    """Whether a key of this hash is in the partitions."""
    return partitions is None or hashed % partitions.count in partitions.chosen
