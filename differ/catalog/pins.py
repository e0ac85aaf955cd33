"""Pins: what a bootstrap holds on to while it reads, under a lease.

A pin names one SCN s, the head when it was made, and for every source the cycle whose snapshot is the state at s. While
it lives, nobody lets go of those snapshots, nor of an event above s. Invariant: whoever lets snapshots or windows go
does so in a write transaction of the consumers' database, after `live` told it inside that transaction what is pinned;
a pin is made and renewed in such transactions too. So a pin never names what is already gone, and one that was once
seen as ended is removed at that moment and never comes back to life, whatever the clock does.

Leases are counted on the wall clock of whoever asks. A clock that leaps ahead ends leases early and costs a new
bootstrap; one that goes back makes them longer, at most to a whole lease from then on.

Source: Gray and Cheriton's leases (1989); Databus' bootstrap, which had no such hold and could lose its race.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, delete, insert, select, update

from differ.catalog import tables
from differ.catalog.catalog import Catalog, now
from differ.catalog.consumer_tables import pins
from differ.catalog.consumers import Consumers
from differ.catalog.entries import to_moment, to_text
from differ.catalog.reading import read_stream
from differ.errors import BootstrapGoneError, RelayUnavailableError
from differ.formats.cursor import CHAIN_DIGITS, Cursor

RENEW_SHARE = 0.9
"""A lease of which more than this share is left is not written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What one bootstrap holds.

    sources: to each the cycle whose snapshot it reads, None where it had none yet. cursor: the stream at the pinned
    SCN. partition: the text of the partitions asked for, None for all. generation: names the replacement of the
    consumer's state; not the id, which gives access to the pin.
    """

    id: str
    generation: str
    consumer: str
    cursor: Cursor
    partition: str | None
    sources: Mapping[str, int | None]
    lease_seconds: float
    expires_at: datetime

    @property
    def scn(self) -> int:
        """The SCN at which all sources are pinned."""
        return self.cursor.scn


class Pins:
    """The pins of one project, in its consumers' database. May be used from any thread."""

    def __init__(self, consumers: Consumers, *, clock: Callable[[], datetime] = now) -> None:
        self._consumers, self._clock = consumers, clock

    def create(
        self, catalog: Catalog, sources: Sequence[str], *, consumer: str, partition: str | None, lease_seconds: float
    ) -> Pin:
        """Pin these sources at the head. Raises RelayUnavailableError for a source whose state was lost to damage.

        A source that has no cycle yet is pinned without one: its state at the head is empty.
        """
        with self._consumers.writing() as connection:
            cursor, cycles = _at_head(catalog, sources)
            pin = Pin(
                id=str(uuid.uuid4()),
                generation=f"{cursor.scn}-{uuid.uuid4().hex[:12]}",
                consumer=consumer,
                cursor=cursor,
                partition=partition,
                sources=cycles,
                lease_seconds=lease_seconds,
                expires_at=self._clock() + timedelta(seconds=lease_seconds),
            )
            connection.execute(
                insert(pins).values(
                    id=pin.id,
                    generation=pin.generation,
                    consumer=consumer,
                    scn=pin.scn,
                    cursor=cursor.text,
                    partition=partition,
                    sources=json.dumps(cycles),
                    lease_seconds=lease_seconds,
                    expires_at=to_text(pin.expires_at),
                )
            )
        return pin

    def get(self, pin_id: str) -> Pin:
        """The pin of this id; raises BootstrapGoneError when it was let go or its lease ended."""
        with self._consumers.reading() as connection:
            return self._alive(connection, pin_id)

    def renew(self, pin_id: str) -> Pin:
        """The pin, its lease begun anew; raises BootstrapGoneError.

        Cost: one read, and a small write when a tenth of the lease has passed.
        """
        pin = self.get(pin_id)
        if RENEW_SHARE < (pin.expires_at - self._clock()) / timedelta(seconds=pin.lease_seconds) <= 1:
            return pin
        with self._consumers.writing() as connection:
            pin = self._alive(connection, pin_id)
            end = self._clock() + timedelta(seconds=pin.lease_seconds)
            connection.execute(update(pins).where(pins.c.id == pin_id).values(expires_at=to_text(end)))
        return pin

    def remove(self, pin_id: str) -> bool:
        """Let go; False when there was nothing to let go."""
        with self._consumers.writing() as connection:
            return connection.execute(delete(pins).where(pins.c.id == pin_id)).rowcount > 0

    def all(self) -> list[Pin]:
        """The pins whose lease has not ended, the lowest SCN first."""
        with self._consumers.reading() as connection:
            found = [_pin(row) for row in connection.execute(select(pins).order_by(pins.c.scn, pins.c.id))]
        return [pin for pin in found if pin.expires_at > self._clock()]

    def _alive(self, connection: Connection, pin_id: str) -> Pin:
        row = connection.execute(select(pins).where(pins.c.id == pin_id)).first()
        if row is None or to_moment(row.expires_at) <= self._clock():
            raise BootstrapGoneError(
                f"bootstrap {pin_id[:40]}: it was let go, or its lease ended",
                hint="begin a new one with POST /v1/bootstrap",
            )
        return _pin(row)


def live(connection: Connection, moment: datetime) -> list[Pin]:
    """The pins that live at this moment, for who is about to let snapshots or windows go.

    connection: the write transaction of the consumers' database in which that happens. Pins whose lease ended are
    removed in it, and leases that end later than they can (the clock went back) are cut to a whole lease.
    """
    connection.execute(delete(pins).where(pins.c.expires_at <= to_text(moment)))
    found = [_pin(row) for row in connection.execute(select(pins).order_by(pins.c.scn, pins.c.id))]
    for pin in found:
        longest = moment + timedelta(seconds=pin.lease_seconds)
        if pin.expires_at > longest:
            connection.execute(update(pins).where(pins.c.id == pin.id).values(expires_at=to_text(longest)))
    return found


def _at_head(catalog: Catalog, sources: Sequence[str]) -> tuple[Cursor, dict[str, int | None]]:
    """The cursor at the head and the cycle of each source's state there, read in one transaction."""
    with catalog.reading() as connection:
        stream = read_stream(connection)
        cycles = {source: _current(connection, source) for source in sources}
    cursor = Cursor(
        stream=stream.stream_id, scn=stream.head_scn, chain=stream.chain[:CHAIN_DIGITS], floors=stream.floors
    )
    return cursor, cycles


def _current(connection: Connection, source: str) -> int | None:
    current = connection.scalar(select(tables.sources.c.current).where(tables.sources.c.name == source))
    if current is not None:
        return int(current)
    table = tables.cycles
    committed = select(table.c.cycle).where(table.c.source == source, table.c.status == "committed").limit(1)
    if connection.execute(committed).first() is None:
        return None
    raise RelayUnavailableError(
        f"bootstrap {source}: its state was lost to damage", hint=f"run 'differ scan --source {source}' for a new one"
    )


def _pin(row: Row[tuple[object, ...]]) -> Pin:
    return Pin(
        id=row.id,
        generation=row.generation,
        consumer=row.consumer,
        cursor=Cursor.parse(row.cursor),
        partition=row.partition,
        sources=json.loads(row.sources),
        lease_seconds=row.lease_seconds,
        expires_at=to_moment(row.expires_at),
    )


def pinned_cycles(found: Sequence[Pin]) -> dict[str, set[int]]:
    """To each source the cycles whose snapshots these pins hold."""
    cycles: dict[str, set[int]] = {}
    for pin in found:
        for source, cycle in pin.sources.items():
            if cycle is not None:
                cycles.setdefault(source, set()).add(cycle)
    return cycles
