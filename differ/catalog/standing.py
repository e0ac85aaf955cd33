"""What a cursor is checked against, read in one transaction: the stream, the chain at an SCN, and the floors.

A cursor is good where it stands in this stream (id), not past its head, not before what is kept, under the chain that
the catalog has there, and no source that it follows had its floor raised since it was made, or has its floor above it.

Invariant: `chain` is that of the window that holds the SCN; also of the last one that was let go, at its very end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, select

from differ.catalog import tables
from differ.catalog.entries import StreamEntry, WindowEntry, to_moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Up to `scn` a source's events do not tell how its state came to be; `number`: which of the stream's floors."""

    scn: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the catalog says of one SCN, at one moment.

    window: the one that holds the SCN, None where that is let go, ahead of the head, or 0. chain: 64 hex digits, None
    where it cannot be known: ahead of the head, or let go. floors: of the sources that have one.
    """

    scn: int
    stream: StreamEntry
    window: WindowEntry | None
    chain: str | None
    floors: Mapping[str, Floor]

    def crossed(self, sources: Collection[str], floors: int | None = None) -> Iterator[str]:
        """The sources (of these, or of all when empty) whose floor stands above the SCN, or was raised after
        number `floors`; by name."""
        for name, floor in sorted(self.floors.items()):
            if (not sources or name in sources) and (
                self.scn < floor.scn or (floors is not None and floors < floor.number)
            ):
                yield name


def read_standing(connection: Connection, stream: StreamEntry, scn: int) -> Standing:
    """See `CatalogReader.standing`."""
    windows = tables.windows
    query = select(windows).where(windows.c.last_scn >= scn).order_by(windows.c.last_scn).limit(1)
    row = connection.execute(query).first()
    window = WindowEntry.from_row(row) if row is not None and row.first_scn <= scn else None
    chain = window.chain if window is not None else None
    if chain is None and scn == stream.kept_after_scn:
        chain = stream.kept_after_chain
    floors = read_floors(connection)
    return Standing(scn=scn, stream=stream, window=window, chain=chain, floors=floors)


def read_floors(connection: Connection) -> dict[str, Floor]:
    """The floors of the sources that have one, inside a transaction."""
    table = tables.sources
    raised = select(table.c.name, table.c.floor_scn, table.c.floor_number).where(table.c.floor_number > 0)
    return {row.name: Floor(scn=row.floor_scn, number=row.floor_number) for row in connection.execute(raised)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """How far whoever stands at an SCN is behind: events of its sources to come, and when the first was committed."""

    events: int
    since: datetime | None


def read_behind(connection: Connection, scn: int, sources: Collection[str]) -> Behind:
    """See `CatalogReader.behind`."""
    table, windows = tables.segments, tables.windows
    last = table.c.first_scn + table.c.count - 1
    unread = case((table.c.first_scn > scn, table.c.count), else_=last - scn)
    query = select(func.coalesce(func.sum(unread), 0), func.min(table.c.window_first)).where(last > scn)
    if sources:
        query = query.where(table.c.source.in_(sources))
    events, first = connection.execute(query).one()
    since = connection.scalar(select(windows.c.committed_at).where(windows.c.first_scn == first)) if events else None
    return Behind(events=int(events), since=to_moment(since) if since else None)
