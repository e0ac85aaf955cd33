"""Which events a command reads: the range of SCNs, the sources' floors, and following the head.

A source's floor is the SCN at which a new base began without events: up to it, events do not tell how the state came
to be. Invariant: nobody reads across a floor without being told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from differ.cli.session import Session
from differ.errors import NotKeptError, UsageError

if TYPE_CHECKING:
    from differ.formats.batch import EventBatch
    from differ.project import Project

POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Events above `since` up to `until` (None: no end) of these sources (none: all), above the floors, of one key."""

    sources: tuple[str, ...]
    since: int
    until: int | None
    key: str | None
    floors: dict[str, int] = field(default_factory=dict)

    def batches(self, project: Project, since: int | None = None, until: int | None = None) -> Iterator[EventBatch]:
        """What there is now, or a part of it. Raises UsageError, at once, for a range or key that makes no sense."""
        first = self.since if since is None else since
        last = self.until if until is None else until
        found = project.event_batches(self.sources, since=first, until=last, key=self.key, across_floors=True)
        return (batch for batch in found if batch.window.first > self.floors.get(batch.source, 0))


def select(
    session: Session, project: Project, sources: Sequence[str], since: int | None, until: int | None, key: str | None
) -> Selection:
    """Settle the range. Raises UsageError below a floor that `since` asks to cross; without `since`, reading begins
    after the floors and the person is told."""
    for name in sources:
        project.known(name)
    floors = _floors(project, sources)
    if since is not None:
        for name, floor in floors.items():
            if since < floor:
                raise UsageError(
                    f"read events of {name} since SCN {since}: its floor is SCN {floor}, where a new base began "
                    f"without events",
                    hint=f"read on with --since {floor}; 'differ export --source {name}' writes its state",
                )
        return Selection(sources=tuple(sources), since=since, until=until, key=key)
    for name, floor in floors.items():
        session.terminal.note(
            f"{name}: its events begin after SCN {floor}, where a new base began without events; "
            f"'differ export --source {name}' writes its state"
        )
    kept = project.catalog.oldest_scn() - 1
    if kept:
        session.terminal.note(f"events up to SCN {kept} are past the relay's retention")
    begin = max(kept, min(floors.values()) if len(floors) == len(sources) == 1 else 0)
    if until is not None and until < begin:
        raise UsageError(f"read events up to SCN {until}: those of {sources[0]} begin after SCN {begin}")
    return Selection(sources=tuple(sources), since=begin, until=until, key=key, floors=floors)


def follow(project: Project, selection: Selection, idle: Callable[[], None]) -> Iterator[EventBatch]:
    """Batches as they are committed, until `until`, else for ever; `idle` is called before each wait.

    Raises NotKeptError when a source gets a new base, or the catalog another past, while it is followed.
    """
    stream = project.catalog.stream()
    position = selection.since
    floors = _floors(project, selection.sources)
    while True:
        now = project.catalog.stream()
        if now.stream_id != stream.stream_id or now.head_scn < position:
            raise NotKeptError("follow events: the catalog was replaced by one with another past", hint="begin again")
        if now.head_scn > position:
            end = now.head_scn if selection.until is None else min(now.head_scn, selection.until)
            yield from selection.batches(project, position, end)
            position = end
        for name, floor in _floors(project, selection.sources).items():
            if floor != floors.get(name):
                raise NotKeptError(
                    f"follow events of {name}: a new base began without events at SCN {floor}",
                    hint=f"take its state from 'differ export --source {name}', then follow with --since {floor}",
                )
        if selection.until is not None and position >= selection.until:
            return
        idle()
        time.sleep(POLL_SECONDS)


def limited(batches: Iterator[EventBatch], limit: int | None) -> Iterator[EventBatch]:
    """The first `limit` events; all for None."""
    left = limit
    if left == 0:
        return
    for batch in batches:
        if left is None:
            yield batch
        elif len(batch) < left:
            left -= len(batch)
            yield batch
        else:
            yield batch.slice(0, left)
            return


def _floors(project: Project, sources: Sequence[str]) -> dict[str, int]:
    entries = project.catalog.sources()
    return {e.name: e.floor_scn for e in entries if e.floor_scn and (not sources or e.name in sources)}
