"""A child that checkpoints without end: `-m tests.catalog.checkpointing URL NAME`; says each SCN that is durable."""

import sys

from differ.catalog.consumers import Consumers
from differ.formats.checkpoint import StreamCheckpoint
from differ.formats.cursor import Cursor

STREAM = "6f0c0000-0000-4000-8000-000000000000"


def at(scn: int, *, stream: str = STREAM) -> StreamCheckpoint:
    """A checkpoint at an SCN of some stream."""
    return StreamCheckpoint(cursor=Cursor(stream=stream, scn=scn, chain=f"{scn:032x}", floors=0))


if __name__ == "__main__":
    consumers = Consumers(sys.argv[1])
    scn = 0
    while True:
        scn += 1
        consumers.put(sys.argv[2], checkpoint=at(scn))
        print(scn, flush=True)  # noqa: T201
