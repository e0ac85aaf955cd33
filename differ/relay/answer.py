"""What one answer of the relay holds, decided from the catalog before a byte of it is read.

    plan(catalog, start, selection, limit)      start: a cursor, or a plain SCN
      checks, in this order: another stream · past the head · retention · another chain at that SCN · a source's floor
      -> Answer: parts of segments in SCN order, up to which SCN they look, the cursor there, whether there is more

Everything that an answer's headers say is known from here, so a client learns it before the body comes. Invariant: the
parts hold every event of the chosen sources above the start and up to `scanned_through`, each once; ops and partitions
are looked at later, when the parts are read.
Source: Databus' relay, whose answers also say how far they looked where a filter passed nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from differ.catalog import Catalog, SegmentEntry, StreamEntry, WindowEntry
from differ.catalog.reading import read_stream
from differ.catalog.standing import Standing, read_standing
from differ.catalog.stretch import segments_after, window_at, windows_by_first
from differ.errors import CorruptionError, ScnAheadError, ScnTooOldError, StreamChangedError
from differ.formats.cursor import CHAIN_DIGITS, Cursor
from differ.formats.partitions import Partitions
from differ.model import Op
from differ.storage.files import CHECK_HINT

SEGMENTS_MAX = 1024
"""So many segments are in one answer at most; a client asks again for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events a client wants: of these sources, with these ops (empty: all), in these partitions (None: all)."""

    sources: tuple[str, ...] = ()
    ops: frozenset[Op] = frozenset()
    partitions: Partitions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The events of a segment above `since` and up to `until`. ends_window: no later part is of its window, and the
    answer looks through the window's end."""

    segment: SegmentEntry
    window: WindowEntry
    since: int
    until: int
    ends_window: bool

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the segment."""
        return self.since < self.segment.first_scn and self.until >= self.segment.last_scn

    @property
    def count(self) -> int:
        """How many events are looked through."""
        return min(self.until, self.segment.last_scn) - max(self.since + 1, self.segment.first_scn) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent: `parts` in SCN order, looking up to `cursor.scn`; `has_more`: there is more to ask for now."""

    stream: str
    head: int
    cursor: Cursor
    has_more: bool
    parts: tuple[Part, ...]

    def cursor_of(self, part: Part) -> Cursor:
        """A cursor inside the part's window, at its end."""
        chain = part.window.chain[:CHAIN_DIGITS]
        return Cursor(stream=self.stream, scn=part.window.last, chain=chain, floors=self.cursor.floors)


def plan(
    catalog: Catalog, start: Cursor | int, selection: Selection, *, limit: int | None = None, one_run: bool = False
) -> Answer:
    """Decide an answer. limit: of events of the chosen sources to look through. one_run: end where the source or the
    schema changes, for formats that hold only one.

    Cost: one read transaction of some index look-ups, and the segments of the answer (at most SEGMENTS_MAX). Raises
    StreamChangedError, ScnAheadError, ScnTooOldError, and CorruptionError where the catalog contradicts itself.
    """
    with catalog.reading() as connection:
        stream = read_stream(connection)
        since = start if isinstance(start, int) else start.scn
        standing = read_standing(connection, stream, since)
        check_start(standing, start, selection.sources)
        found = segments_after(connection, since, sources=selection.sources, limit=SEGMENTS_MAX + 1)
        chosen = list(_choose(found[:SEGMENTS_MAX], since, limit, one_run=one_run))
        until = max(since, _scanned_through(chosen, found, stream))  # with limit 0, in the middle of a segment
        windows = windows_by_first(connection, sorted({segment.window_first for segment, _ in chosen}))
        window = window_at(connection, until)
        chain = _digits(window.chain if window else standing.chain if until == since else None, until)
    return Answer(
        stream=stream.stream_id,
        head=stream.head_scn,
        cursor=Cursor(stream=stream.stream_id, scn=until, chain=chain, floors=stream.floors),
        has_more=bool(found) and until < found[-1].last_scn,
        parts=tuple(_parts(chosen, windows, since, until)),
    )


def check_start(standing: Standing, start: Cursor | int, sources: Collection[str]) -> None:
    """Refuse a start that reading cannot go on from without losing something; pure.

    standing: the catalog's at the start's SCN. A plain SCN has no stream, chain and floors to compare. Raises
    StreamChangedError, ScnAheadError, ScnTooOldError, in the order of the module's docstring.
    """
    stream, scn = standing.stream, standing.scn
    cursor = start if isinstance(start, Cursor) else None
    if cursor is not None and cursor.stream != stream.stream_id:
        raise StreamChangedError(
            f"read events since SCN {scn}: the cursor is of stream {cursor.stream}, this is {stream.stream_id}",
            hint="another store, or one that was built anew: bootstrap",
        )
    if scn > stream.head_scn:
        raise ScnAheadError(
            f"read events since SCN {scn}: the head is {stream.head_scn}",
            hint="the store may have been restored from a backup: bootstrap",
            head=stream.head_scn,
        )
    if scn < stream.kept_after_scn:
        raise ScnTooOldError(
            f"read events since SCN {scn}: the oldest that is kept is SCN {stream.oldest_scn}",
            hint="bootstrap; relay.retention says how long events are kept",
            oldest=stream.oldest_scn,
        )
    if cursor is not None and (cursor.chain != _digits(standing.chain, scn) or cursor.floors > stream.floors):
        raise StreamChangedError(
            f"read events since SCN {scn}: the stream's history up to there is another one than the cursor's",
            hint="the store was restored from a backup and went on from there: bootstrap",
        )
    for name in standing.crossed(sources, None if cursor is None else cursor.floors):
        floor = standing.floors[name].scn
        raise ScnTooOldError(
            f"read events of {name} since SCN {scn}: its floor is SCN {floor}, where a new base began without events "
            "or damaged ones were lost",
            hint=f"bootstrap {name}",
            oldest=floor + 1,
            source=name,
        )


def _digits(chain: str | None, scn: int) -> str:
    """What a cursor carries of a chain."""
    if chain is None:
        raise CorruptionError(f"read catalog: no window holds SCN {scn}", hint=CHECK_HINT)
    return chain[:CHAIN_DIGITS]


def _choose(
    segments: Sequence[SegmentEntry], since: int, limit: int | None, *, one_run: bool
) -> Iterator[tuple[SegmentEntry, int]]:
    """Each segment of the answer with the last SCN of it that is looked through."""
    left = limit
    run = None
    for segment in segments:
        key = (segment.source, segment.schema_id, segment.before_schema_id)
        # Where the before images have another schema, the keys may have one as well: such a segment stands alone.
        if one_run and run is not None and (key != run or segment.before_schema_id != segment.schema_id):
            return
        run = key
        first = max(segment.first_scn, since + 1)
        last = segment.last_scn if left is None else min(segment.last_scn, first + left - 1)
        if last < first:
            return
        yield segment, last
        if left is not None:
            left -= last - first + 1


def _scanned_through(
    chosen: Sequence[tuple[SegmentEntry, int]], found: Sequence[SegmentEntry], stream: StreamEntry
) -> int:
    """Up to where nothing of the chosen sources is left out: mid-segment, before the next segment, or the head."""
    if chosen and chosen[-1][1] < chosen[-1][0].last_scn:
        return chosen[-1][1]
    return found[len(chosen)].first_scn - 1 if len(found) > len(chosen) else stream.head_scn


def _parts(
    chosen: Sequence[tuple[SegmentEntry, int]], windows: dict[int, WindowEntry], since: int, until: int
) -> Iterator[Part]:
    for number, (segment, last) in enumerate(chosen):
        window = windows.get(segment.window_first)
        if window is None:
            raise CorruptionError(
                f"read events {segment.first_scn}..{segment.last_scn} of {segment.source}: the catalog has no window "
                f"{segment.window_first}",
                hint=CHECK_HINT,
            )
        is_last = number + 1 == len(chosen) or chosen[number + 1][0].window_first != segment.window_first
        ends_window = is_last and until >= window.last
        yield Part(segment=segment, window=window, since=since, until=last, ends_window=ends_window)
