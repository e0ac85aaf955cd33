"""What the catalog knows of a stretch of the stream, read in one transaction, so that an answer's parts agree.

An answer of the relay names windows, segments and the head; read one by one, a commit or retention between two reads
could make it say what never was true. Every function here takes the open transaction. The statements are made once:
they are asked at every call of every consumer.

Cost: each is an index look-up and the rows it returns, however long the stream is.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select

from differ.catalog import tables
from differ.catalog.entries import SegmentEntry, WindowEntry

_windows, _segments = tables.windows.c, tables.segments.c
_WINDOW_FROM = select(tables.windows).where(_windows.last_scn >= bindparam("scn")).order_by(_windows.last_scn).limit(1)
_WINDOWS_BY_FIRST = select(tables.windows).where(_windows.first_scn.in_(bindparam("firsts", expanding=True)))
_SEGMENTS = (
    select(tables.segments)
    .where(_segments.first_scn >= bindparam("begin"), _segments.first_scn + _segments["count"] > bindparam("above"))
    .order_by(_segments.first_scn)
    .limit(bindparam("size"))
)
_SEGMENTS_OF = _SEGMENTS.where(_segments.source.in_(bindparam("sources", expanding=True)))


def window_from(connection: Connection, scn: int) -> WindowEntry | None:
    """The first window whose last SCN is `scn` or above: the one that holds it, or else the oldest that is kept."""
    row = connection.execute(_WINDOW_FROM, {"scn": scn}).first()
    return WindowEntry.from_row(row) if row is not None else None


def window_at(connection: Connection, scn: int) -> WindowEntry | None:
    """The window that holds an SCN, or None."""
    found = window_from(connection, scn)
    return found if found is not None and found.first <= scn else None


def windows_by_first(connection: Connection, firsts: Sequence[int]) -> dict[int, WindowEntry]:
    """The windows that begin at these SCNs, by them."""
    if not firsts:
        return {}
    rows = connection.execute(_WINDOWS_BY_FIRST, {"firsts": list(firsts)})
    return {row.first_scn: WindowEntry.from_row(row) for row in rows}


def segments_after(connection: Connection, since: int, *, sources: Sequence[str], limit: int) -> list[SegmentEntry]:
    """The first `limit` segments of these sources (none: of all) that hold an SCN above `since`, ascending."""
    begin = window_from(connection, since + 1)
    if begin is None:
        return []
    values = {"begin": begin.first, "above": since + 1, "size": limit}
    if sources:
        rows = connection.execute(_SEGMENTS_OF, values | {"sources": list(sources)})
    else:
        rows = connection.execute(_SEGMENTS, values)
    return [SegmentEntry.from_row(row) for row in rows]
