"""Read the stream: one answer after another, waiting at the head, resuming where an answer broke off.

    GET /v1/stream?format=frames&cursor=..  ->  frame frame frame | end of answer  ->  GET .. from the cursor it gave

Invariants: every event after the start that passes the filters comes exactly once, ascending by SCN, whatever the
network does; a `Progress` comes only when everything up to its cursor came before it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from differ.client.retries import Backoff
from differ.client.transport import Transport
from differ.errors import RelayError, RelayUnavailableError, ScnTooOldError, UsageError
from differ.formats.cursor import Cursor
from differ.formats.frames import Frame, read_frames
from differ.formats.partitions import Partitions
from differ.model import OPS

log = logging.getLogger(__name__)

WAIT_SECONDS = 20.0
"""How long the relay is asked to wait at the head before it answers that there is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events are wanted: of these sources, of these ops (empty: all), in these partitions (None: all)."""

    sources: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    partition: Partitions | None = None

    @classmethod
    def of(cls, sources: Sequence[str] | str, ops: Sequence[str], partition: Partitions | str | None) -> Selection:
        """Check what a caller gave; raises UsageError."""
        names = (sources,) if isinstance(sources, str) else tuple(sources)
        unknown = [op for op in ops if op not in OPS]
        if isinstance(ops, str) or unknown:
            raise UsageError(f"read events: ops={ops!r}", hint=f"a list of: {', '.join(OPS)}")
        parsed = Partitions.parse(partition) if isinstance(partition, str) else partition
        return cls(sources=names, ops=tuple(ops), partition=parsed)

    @property
    def query(self) -> list[tuple[str, str]]:
        """As parameters of /v1/stream."""
        found = [("source", name) for name in self.sources] + [("ops", op) for op in self.ops]
        if self.partition is not None and not self.partition.is_all:
            found.append(("partition", self.partition.text))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Everything up to `cursor` was looked through. head: of the stream then; caught_up: nothing waited behind."""

    cursor: Cursor
    head: int
    caught_up: bool


def read(
    transport: Transport,
    selection: Selection,
    start: Cursor | int,
    *,
    backoff: Backoff,
    until_head: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> Iterator[Frame | Progress]:
    """Frames and, after each answer, how far it looked. Ends at the head when `until_head`, or when the back-off was
    told to stop; else never.

    start: a cursor, or an SCN to read after. Transient errors are waited out. Raises RelayError, as ScnTooOldError.
    """
    position: Cursor | int = start
    wait = 0.0
    while not backoff.stopped:
        query = [*selection.query, ("format", "frames"), _start(position)]
        if wait and not until_head:
            query.append(("wait", f"{wait:g}"))
        try:
            with transport.stream("/v1/stream", query=query, wait_seconds=wait) as answer:
                progress = _progress(answer.headers)
                for frame in read_frames(answer.body):
                    position = frame.cursor
                    backoff.reset()
                    yield frame
        except RelayUnavailableError as error:
            if not backoff.stopped:
                if not backoff.waited:
                    log.warning("read events: %s; trying again", error)
                backoff.wait(error)
            continue
        if backoff.waited:
            log.info("read events: the relay answers again")
        backoff.reset()
        position = progress.cursor
        yield progress
        if until_head and progress.caught_up:
            return
        wait = wait_seconds if progress.caught_up else 0.0


def place(transport: Transport, selection: Selection, start: int | str, *, backoff: Backoff | None = None) -> Cursor:
    """The cursor of a place to begin at: after an SCN, "oldest" (before everything that is kept) or "head".

    Raises UsageError, ScnTooOldError for an SCN that is not kept, ScnAheadError for one that is not there yet.
    """
    if isinstance(start, int):
        return ask(transport, selection, start, backoff=backoff).cursor
    if start == "head":
        try:
            since = ask(transport, selection, 0, backoff=backoff).head
        except ScnTooOldError as error:
            since = ask(transport, selection, _oldest(error), backoff=backoff).head
        return ask(transport, selection, since, backoff=backoff).cursor
    if start != "oldest":
        raise UsageError(f"read events: start={start!r}", hint='"bootstrap", "oldest", "head" or an SCN')
    since = 0
    while True:
        try:
            return ask(transport, selection, since, backoff=backoff).cursor
        except ScnTooOldError as error:
            # Retention may go on meanwhile, so this is asked until it holds; each time from further on.
            oldest = _oldest(error)
            if oldest <= since:
                raise
            since = oldest


def ask(transport: Transport, selection: Selection, since: int | Cursor, *, backoff: Backoff | None = None) -> Progress:
    """Where the stream stands after an SCN or cursor, without reading an event. Raises where it cannot go on there."""
    query = [*selection.query, ("format", "frames"), _start(since), ("limit", "0")]
    while True:
        try:
            with transport.stream("/v1/stream", query=query) as answer:
                return _progress(answer.headers)
        except RelayUnavailableError as error:
            if backoff is None or backoff.stopped:
                raise
            backoff.wait(error)


def _oldest(error: ScnTooOldError) -> int:
    """The SCN to read after, to read the oldest event that is kept."""
    if error.oldest is None:
        raise error
    return error.oldest - 1


def _start(position: Cursor | int) -> tuple[str, str]:
    return ("since", str(position)) if isinstance(position, int) else ("cursor", position.text)


def _progress(headers: Mapping[str, str]) -> Progress:
    try:
        cursor, head = Cursor.parse(headers["Differ-Cursor"]), int(headers["Differ-Head"])
        return Progress(cursor=cursor, head=head, caught_up=headers["Differ-More"] == "false")
    except (KeyError, ValueError, UsageError):
        raise RelayError("read events: the answer is no relay's", hint="is this the URL of a relay?") from None
