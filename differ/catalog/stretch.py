"""What the catalog knows of a stretch of the stream, read in one transaction, so that an answer's parts agree.

An answer of the relay names windows, segments and the head; read one by one, a commit or retention between two
reads could make it say what never was true. Every function here takes the open transaction.

Cost: each is an index look-up and the rows it returns, however long the stream is.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from differ.catalog import tables
from differ.catalog.entries import SegmentEntry, WindowEntry


def windows_from(connection: Connection, scn: int, *, limit: int | None = None) -> list[WindowEntry]:
    """Windows whose last SCN is `scn` or above, ascending; the first is the one that holds `scn`, if any does."""
    table = tables.windows
    query = select(table).where(table.c.last_scn >= scn).order_by(table.c.last_scn).limit(limit)
    return [WindowEntry.from_row(row) for row in connection.execute(query)]


def window_at(connection: Connection, scn: int) -> WindowEntry | None:
    """The window that holds an SCN, or None."""
    found = windows_from(connection, scn, limit=1)
    return found[0] if found and found[0].first <= scn else None


def windows_by_first(connection: Connection, firsts: Sequence[int]) -> dict[int, WindowEntry]:
    """The windows that begin at these SCNs, by them."""
    table = tables.windows
    rows = connection.execute(select(table).where(table.c.first_scn.in_(firsts)))
    return {row.first_scn: WindowEntry.from_row(row) for row in rows}


def segments_after(connection: Connection, since: int, *, sources: Sequence[str], limit: int) -> list[SegmentEntry]:
    """The first `limit` segments of these sources (none: of all) that hold an SCN above `since`, ascending."""
    begin = windows_from(connection, since + 1, limit=1)
    if not begin:
        return []
    table = tables.segments
    query = select(table).where(table.c.first_scn >= begin[0].first, table.c.first_scn + table.c.count > since + 1)
    if sources:
        query = query.where(table.c.source.in_(sources))
    rows = connection.execute(query.order_by(table.c.first_scn).limit(limit))
    return [SegmentEntry.from_row(row) for row in rows]
