"""The consumer library: follow a relay by HTTP, keep checkpoints, bootstrap, retry. docs/consume.md is its page.

    from differ.client import Client, Consumer

    class Index(Consumer):
        def on_event(self, event): ...

    Client("http://127.0.0.1:7070").run(Index(), name="index", sources=["orders"])

Invariant: nothing of the server, the catalog or the configuration is imported.
"""

from differ.client.bootstrapping import Bootstrap
from differ.client.checkpoints import CheckpointStore, FileCheckpoints, RelayCheckpoints
from differ.client.client import Client
from differ.client.consumer import Consumer, Next, Reject, Retry, Skip, Stop
from differ.client.deadletters import DeadLetter, DeadLetters, Replayed
from differ.client.events import Events
from differ.client.loop import Pace
from differ.client.retries import Retries
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor

__all__ = [
    "Bootstrap",
    "BootstrapCheckpoint",
    "Checkpoint",
    "CheckpointStore",
    "Client",
    "Consumer",
    "Cursor",
    "DeadLetter",
    "DeadLetters",
    "Events",
    "FileCheckpoints",
    "Next",
    "Pace",
    "Reject",
    "RelayCheckpoints",
    "Replayed",
    "Retries",
    "Retry",
    "Skip",
    "Stop",
    "StreamCheckpoint",
]
