"""The table of checkpoints: where each sink of this database stands, and who may write for it.

    differ_checkpoints(sink PRIMARY KEY, epoch, checkpoint JSON text, generation, updated_at)

`epoch` grows by one whenever a sink is opened; every write begins by touching the row under its own epoch, so a writer
that was taken over finds no row, and one that takes over waits for the write that is under way. Invariant: the
checkpoint says exactly what the same transaction's rows say, so a crash at any time is as if the last write had, or had
not, been made. Source: fencing tokens (Kleppmann, 2016); Flink's and Kafka Connect's exactly-once sinks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from differ.errors import FencedError
from differ.formats.checkpoint import Checkpoint, checkpoint_from_json

NAME_CHARACTERS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A sink's row. generation: of the last bootstrap that was completed."""

    checkpoint: Checkpoint | None
    generation: str | None


class Book:
    """The row of one sink. All methods but `create` work inside the caller's transaction."""

    def __init__(self, sink: str, table: str, schema: str | None) -> None:
        self._sink = sink
        self.table = sa.Table(
            table,
            sa.MetaData(),
            sa.Column("sink", sa.String(NAME_CHARACTERS), primary_key=True),
            sa.Column("epoch", sa.BigInteger, nullable=False),
            sa.Column("checkpoint", sa.Text),
            sa.Column("generation", sa.String(NAME_CHARACTERS)),
            sa.Column("updated_at", sa.String(40), nullable=False),
            schema=schema,
        )

    def create(self, connection: sa.Connection) -> None:
        """Make the table where it is missing."""
        self.table.create(connection, checkfirst=True)

    def take_over(self, connection: sa.Connection) -> int:
        """Begin the next epoch and return it: all earlier ones are refused from the commit on."""
        t = self.table
        own = t.c.sink == self._sink
        if connection.execute(sa.update(t).where(own).values(epoch=t.c.epoch + 1, updated_at=_now())).rowcount == 0:
            connection.execute(sa.insert(t).values(sink=self._sink, epoch=1, updated_at=_now()))
        return int(connection.execute(sa.select(t.c.epoch).where(own)).scalar_one())

    def entry(self, connection: sa.Connection) -> Entry:
        """Where the sink stands."""
        t = self.table
        row = connection.execute(sa.select(t.c.checkpoint, t.c.generation).where(t.c.sink == self._sink)).one_or_none()
        if row is None:
            return Entry(checkpoint=None, generation=None)
        checkpoint = None if row.checkpoint is None else checkpoint_from_json(json.loads(row.checkpoint))
        return Entry(checkpoint=checkpoint, generation=row.generation)

    def touch(
        self,
        connection: sa.Connection,
        epoch: int,
        checkpoint: Checkpoint | None = None,
        *,
        generation: str | None = None,
    ) -> None:
        """Hold the row until the end of the transaction, and write the checkpoint into it where one is given.

        Raises FencedError when another has opened the sink since.
        """
        values: dict[str, str] = {"updated_at": _now()}
        if checkpoint is not None:
            values["checkpoint"] = json.dumps(checkpoint.to_json(), separators=(",", ":"))
        if generation is not None:
            values["generation"] = generation
        t = self.table
        held = connection.execute(sa.update(t).where(t.c.sink == self._sink, t.c.epoch == epoch).values(**values))
        if held.rowcount != 1:
            raise FencedError(
                f"sink {self._sink}: another process has opened it since",
                hint="only one process writes a sink; this one stops",
            )


def _now() -> str:
    return datetime.now(UTC).isoformat()
