"""Where a sink stands: asked when it takes the destination over, which is when its lease on the sink begins.

A sink that keeps its checkpoint in the destination is believed, unless the relay has forgotten the sink's own
(`differ consumers reset`): then it begins anew. The others' is the relay's. Invariant: the destination is opened under
a lease, never by a process that stands by. Source: Kafka Connect's offsets in the sink.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from differ.client.transport import Transport, segment
from differ.formats.checkpoint import Checkpoint, checkpoint_from_json
from differ.sinks.contract import Sink

log = logging.getLogger(__name__)


class SinkCheckpoints:
    """A `CheckpointStore` of the client: `load` opens the sink, and `save` is what the sink did already."""

    def __init__(
        self, sink: Sink, transport: Transport, consumer: str, *, loaded: Callable[[Checkpoint | None], None]
    ) -> None:
        """consumer: the name that the relay knows the sink by. loaded: told when the destination answered, and what."""
        self._sink, self._transport, self._consumer, self._loaded = sink, transport, consumer, loaded

    def load(self) -> Checkpoint | None:
        """Open the sink and say where it stands. Raises SinkError, RelayError."""
        path = f"/v1/consumers/{segment(self._consumer)}"
        entry = self._transport.call("GET", path, missing_is_none=True)
        known = None if entry is None else _known(entry)
        self._sink.open()
        checkpoint = self._sink.load() if self._sink.keeps_checkpoint else known
        if known is None and checkpoint is not None:
            log.info("sink %s: the relay has no checkpoint of it; it begins anew", self._sink.context.name)
            checkpoint = None
        self._loaded(checkpoint)
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """The sink has stored it with the rows, or the relay keeps it."""


def _known(entry: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint that the relay has: the lowest, where partitions of the group stand at several."""
    bodies = [entry.get("checkpoint"), *(entry.get("partitions") or {}).values()]
    found = [checkpoint_from_json(body) for body in bodies if body is not None]
    return min(found, key=lambda checkpoint: checkpoint.cursor.scn, default=None)
