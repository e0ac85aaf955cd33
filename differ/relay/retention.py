"""Which windows the relay lets go: the oldest first, whole windows only, and none that somebody still needs.

    age and size      say what may go: everything before the first window that is young enough and small enough
    consumers         hold what they have not read, while all that is held for them stays within a cap
    pins              hold what comes after their SCN, as long as their lease lasts

A consumer that stands at an SCN holds every window after it, since what is kept is a suffix of the stream; it holds
nothing where none of these has events of its sources, or where it must bootstrap in any case. One whose hold is beyond
the cap is let down: the windows go, and it is told SCN_TOO_OLD.

Invariant: one number, the oldest SCN, says what can still be read; it never passes a living pin, nor a consumer within
the cap. Files are removed later, by the sweep that runs under each source's lock, when nothing refers to them any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from differ.catalog import Catalog, StreamEntry, tables
from differ.catalog.entries import to_text
from differ.catalog.reading import read_stream
from differ.catalog.standing import Floor, read_floors
from differ.config import RetentionSettings

if TYPE_CHECKING:
    from differ.catalog.consumer_entries import ConsumerEntry
    from differ.formats.cursor import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What age and size alone would let go: the windows up to `last_scn`. Bytes are counted from the stream's begin;
    `end_bytes` is where the first window that stays begins."""

    last_scn: int
    end_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A consumer that is behind what age and size let go: it stands at `scn`, and for it `bytes` are kept.

    within: whether that is within the cap; where not, its events go and it must bootstrap.
    """

    consumer: str
    scn: int
    bytes: int
    within: bool


def expired(catalog: Catalog, settings: RetentionSettings, moment: datetime) -> Expired | None:
    """What is older than `age`, or too much for `size`; None for nothing. Cost: index look-ups and the rows of what is
    held past its age."""
    with catalog.reading() as connection:
        return _expired(connection, read_stream(connection), settings, moment)


def let_go(
    catalog: Catalog,
    found: Expired,
    settings: RetentionSettings,
    *,
    behind: Sequence[ConsumerEntry],
    pinned: Iterable[Cursor],
) -> int:
    """Let go of the expired windows that nobody needs and return how many they were. Idempotent.

    behind: the consumers that stand below `found.last_scn`. pinned: where the living pins stand. Both were read in the
    write transaction of the consumers' database in which this is called, where there is such a database.
    """
    with catalog.reading() as connection:
        stream = read_stream(connection)
        holds = _holds(connection, stream, found, settings, behind)
    pins = [cursor.scn for cursor in pinned if cursor.stream == stream.stream_id]
    return catalog.let_windows_go(boundary(found.last_scn, [hold.scn for hold in holds if hold.within], pins))


def boundary(last_scn: int, consumers: Iterable[int], pins: Iterable[int]) -> int:
    """The SCN up to which windows may go that end there or before. Pure. consumers, pins: where they stand."""
    return min([last_scn, *consumers, *pins])


def holds(
    catalog: Catalog, settings: RetentionSettings, moment: datetime, consumers: Sequence[ConsumerEntry]
) -> list[Hold]:
    """For which consumers events are kept beyond `age` and `size`, or soon no more; those that hold most come first."""
    with catalog.reading() as connection:
        stream = read_stream(connection)
        found = _expired(connection, stream, settings, moment)
        if found is None:
            return []
        held = _holds(connection, stream, found, settings, consumers)
    return sorted(held, key=lambda hold: (hold.scn, hold.consumer))


def _expired(
    connection: Connection, stream: StreamEntry, settings: RetentionSettings, moment: datetime
) -> Expired | None:
    table = tables.windows
    oldest = to_text(moment - timedelta(seconds=settings.age_seconds))
    query = select(table).where(
        table.c.committed_at >= oldest, table.c.start_bytes >= stream.segment_bytes - settings.size_bytes
    )
    first = connection.execute(query.order_by(table.c.first_scn).limit(1)).first()
    last_scn = stream.head_scn if first is None else first.first_scn - 1
    if last_scn <= stream.kept_after_scn:
        return None
    return Expired(last_scn=last_scn, end_bytes=stream.segment_bytes if first is None else first.start_bytes)


def _holds(
    connection: Connection,
    stream: StreamEntry,
    found: Expired,
    settings: RetentionSettings,
    consumers: Sequence[ConsumerEntry],
) -> list[Hold]:
    table = tables.windows
    floors = read_floors(connection)
    newest: dict[str, int] = {}
    starts: dict[int, int] = {}
    held = []
    for entry in consumers:
        scns = [c.scn for c in entry.cursors if c.scn < found.last_scn and _can_go_on(c, stream, floors, entry.sources)]
        if not scns or not _has_more(connection, scn := min(scns), entry.sources, newest):
            continue
        if scn not in starts:
            query = select(table.c.start_bytes).where(table.c.last_scn > scn).order_by(table.c.last_scn).limit(1)
            starts[scn] = connection.scalar(query) or 0
        size = found.end_bytes - starts[scn]
        within = size <= settings.hold_for_consumers_bytes
        held.append(Hold(consumer=entry.name, scn=scn, bytes=size, within=within))
    return held


def _can_go_on(cursor: Cursor, stream: StreamEntry, floors: dict[str, Floor], sources: Sequence[str]) -> bool:
    """Whether the relay would still answer it; where not, it bootstraps, and nothing needs to be held for it."""
    if cursor.stream != stream.stream_id or cursor.scn < stream.kept_after_scn or cursor.floors > stream.floors:
        return False
    followed = [floor for name, floor in floors.items() if not sources or name in sources]
    return all(floor.scn <= cursor.scn and floor.number <= cursor.floors for floor in followed)


def _has_more(connection: Connection, scn: int, sources: Sequence[str], newest: dict[str, int]) -> bool:
    """Whether an event of these sources (none: of any) is kept after the SCN. newest: what was looked up before."""
    table = tables.segments
    for source in sources:
        if source not in newest:
            query = select(table.c.first_scn + table.c.count - 1).where(table.c.source == source)
            newest[source] = connection.scalar(query.order_by(table.c.first_scn.desc()).limit(1)) or 0
        if newest[source] > scn:
            return True
    return not sources
