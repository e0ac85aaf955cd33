"""Where a consumer's checkpoint is kept: in a file of its own, or on the relay. A sink may bring a store of its own.

Invariant: after `save` returned, `load` gives that checkpoint, also after a crash. A store that cannot be read is an
error and never "no checkpoint": that would begin anew and deliver everything again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from differ.client.transport import segment
from differ.errors import CorruptionError, UsageError
from differ.formats import checked
from differ.formats.checkpoint import Checkpoint, checkpoint_from_json
from differ.storage import create, ensure_folder
from differ.storage.files import storage_errors

if TYPE_CHECKING:
    from differ.client.retries import Backoff
    from differ.client.transport import Transport


class CheckpointStore(Protocol):
    """What a run needs of a place for checkpoints. Called from the run's own thread."""

    def load(self) -> Checkpoint | None:
        """The checkpoint that was saved last, None before the first."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable. Raises a transient DifferError where trying again may help."""


class FileCheckpoints:
    """A JSON file, replaced as a whole and synced with its folder. One consumer, one file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self) -> Checkpoint | None:
        """Raises CorruptionError for a file that holds no checkpoint."""
        with storage_errors("read checkpoint", self.path):
            try:
                text = self.path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            return checkpoint_from_json(checked.read(text))
        except (ValueError, UsageError) as error:
            raise CorruptionError(
                f"read checkpoint {self.path}: it holds none: {error}",
                hint="remove the file to begin anew",
            ) from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Raises StorageError. Cost: two fsyncs."""
        ensure_folder(self.path.parent)
        with create(self.path, replaces=True) as file:
            file.write(checked.write(json.dumps(checkpoint.to_json()).encode()))
            file.commit(root=self.path.parent)


class RelayCheckpoints:
    """Kept by the relay under the consumer's name; the relay keeps what the consumer has not read yet.

    sources: that the consumer follows, so that others may be let go; empty for all.
    """

    def __init__(
        self, transport: Transport, name: str, *, sources: Sequence[str] = (), backoff: Backoff | None = None
    ) -> None:
        self._transport, self._name, self._sources, self._backoff = transport, name, tuple(sources), backoff

    def load(self) -> Checkpoint | None:
        """None also for a consumer that the relay does not know, or whose checkpoint was reset."""
        entry = self._transport.call("GET", self._path, backoff=self._backoff, missing_is_none=True)
        body = None if entry is None else entry.get("checkpoint")
        return None if body is None else checkpoint_from_json(body)

    def save(self, checkpoint: Checkpoint | None) -> None:
        """None registers the consumer without a checkpoint. Raises RelayUnavailableError when the relay stays away."""
        body = {
            "checkpoint": None if checkpoint is None else checkpoint.to_json(),
            "sources": list(self._sources),
            "client": client_name(),
        }
        self._transport.call("PUT", self._path, body=body, backoff=self._backoff)

    @property
    def _path(self) -> str:
        return f"/v1/consumers/{segment(self._name)}"


def client_name() -> str:
    """Who this process is, as operators are shown it: host and process id."""
    import os
    import socket

    return f"{socket.gethostname()}:{os.getpid()}"
