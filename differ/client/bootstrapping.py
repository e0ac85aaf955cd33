"""Bootstrap: replace what a consumer holds by the states of its sources at one SCN, then leave it to the stream.

    pin (POST, or GET of the one begun before)
      on_bootstrap_start
      on_bootstrap_events*  on_bootstrap_checkpoint*         source by source, page by page; resumable at each page
      on_bootstrap_end                                       what is held beyond those rows is gone: a snapshot has no
      on_bootstrap_checkpoint(StreamCheckpoint at the SCN)   deletes
    let go (DELETE)

The pages are a road like the stream's: failures, checkpoints and stops are the loop's. A pin whose lease ended in the
middle is begun anew under another generation, and all rows come again. Invariants: between the start and the end of
one generation every row of the pinned states is delivered at least once; the stream's checkpoint is stored only after
`on_bootstrap_end` returned, and the pin is let go only after that.
Source: Databus' bootstrap client; docs/decisions/0016-pins-and-pages.md.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from differ.client.consumer import Answer, Consumer, Next
from differ.client.delivery import Callbacks, FailedError, bootstrap_callbacks, guarded
from differ.client.loop import Ended
from differ.client.prefetch import Prefetch
from differ.client.retries import Backoff, Retries
from differ.client.road import Mark, Piece, Road, ahead
from differ.client.transport import Transport, segment
from differ.errors import (
    BootstrapGoneError,
    DifferError,
    FencedError,
    RelayError,
    RelayUnavailableError,
    ScnAheadError,
    StreamChangedError,
    UsageError,
)
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.formats.frames import read_frames
from differ.formats.partitions import Partitions

if TYPE_CHECKING:
    from differ.client.positions import Assignment
    from differ.client.reading import Selection
    from differ.client.run import Run

log = logging.getLogger(__name__)

RENEWALS = 3
"""How often in a lease it is renewed while the consumer works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """One replacement of a consumer's state: after `on_bootstrap_end` it holds exactly the rows that came for it.

    generation: names it; the same when it is resumed (`resumed`), another when it is begun anew. sources, partitions
    (None: all): what is replaced; what else the consumer holds stays. rows: of each source, in all partitions. scn: at
    which all states are pinned, and after which the stream goes on. shared: it was begun for more partitions than
    these, and others may go on with the rest.
    """

    id: str
    generation: str
    cursor: Cursor
    sources: tuple[str, ...]
    rows: Mapping[str, int]
    partitions: Partitions | None
    lease_seconds: float
    resumed: bool = False
    shared: bool = False

    @property
    def scn(self) -> int:
        """At which the states are pinned."""
        return self.cursor.scn

    @property
    def stream(self) -> str:
        """The stream's id."""
        return self.cursor.stream

    def checkpoint(self, done: tuple[str, ...], source: str, page: str | None) -> BootstrapCheckpoint:
        """The checkpoint at a page of a source, after those that are done."""
        return BootstrapCheckpoint(
            bootstrap=self.id, generation=self.generation, cursor=self.cursor, source=source, page=page, done=done
        )


def bootstrap(run: Run, assignment: Assignment, checkpoint: BootstrapCheckpoint | None) -> Ended:
    """Bootstrap a run's consumer, from a checkpoint in the middle of it or from the beginning.

    Returns ROAD when it is complete and the stream's checkpoint behind it stored (`run.loop.stored`). Raises
    ConsumerError, and RelayError where the relay cannot answer; BootstrapGoneError only where it may not begin anew.
    """
    again = Backoff(run.plan.retries, run.stop)
    while True:
        try:
            return _replace(run, assignment, checkpoint)
        except (BootstrapGoneError, ScnAheadError, StreamChangedError) as error:
            # The last two refuse a checkpoint: the store was restored from a backup, and the pin's SCN is not in it.
            if not run.plan.may_bootstrap:
                raise
            log.warning("%s: %s; beginning a new bootstrap", run.plan.name, error)
            stored = run.loop.stored
            if isinstance(stored, BootstrapCheckpoint) and (stored.page or stored.done):
                again.reset()  # It came some way, so it is not refused again and again.
            if checkpoint is None:
                again.wait(error)
            checkpoint = None
            if run.stop.is_set():
                return Ended.STOPPED
        except FencedError as error:
            log.info("%s: checkpoint refused: %s", run.plan.name, error)
            return Ended.CHANGED


def _replace(run: Run, assignment: Assignment, checkpoint: BootstrapCheckpoint | None) -> Ended:
    """One generation, or what was left of it. Raises BootstrapGoneError when it cannot be completed."""
    backoff = Backoff(run.plan.retries, run.stop)
    selection = run.selection(assignment)
    found = None if checkpoint is None else resume(run.transport, selection, checkpoint, backoff=backoff)
    begun = found or begin(run.transport, selection, run.plan.name, backoff=backoff)
    consumer = run.consumer
    with Renewing(run.transport, begun):
        answer = _persist(run, lambda: run.deliverer.call("on_bootstrap_start", consumer.on_bootstrap_start, begun))
        if answer is Next.STOP:
            return Ended.STOPPED
        if found is None or checkpoint is None:
            log.info("%s: bootstrapping at SCN %d: %s", run.plan.name, begun.scn, ", ".join(begun.sources))
            checkpoint = begun.checkpoint((), begun.sources[0] if begun.sources else "", None)
            if _persist(run, lambda: run.loop.store(checkpoint)) is Next.STOP:
                return Ended.STOPPED
        road = bootstrap_road(run.transport, begun, consumer, run.plan.retries)
        ended = run.loop.travel(road, checkpoint)
    if isinstance(run.loop.stored, StreamCheckpoint) and not begun.shared:
        _let_go(run.transport, begun)
    return ended


def _persist(run: Run, step: Callable[[], Answer]) -> Answer:
    """Do a step again until it works; STOP when it said so, or the run was told to stop meanwhile.

    Raises ConsumerError when a callback keeps failing.
    """
    backoff = Backoff(run.plan.retries, run.stop)
    while not run.stop.is_set():
        try:
            return step()
        except FailedError as failed:
            failure = failed.failures[0]
            if run.troubles.judge(failure, 0, None) is Next.STOP:
                return Next.STOP
            backoff.wait(failure.error)
    return Next.STOP


# -- what is asked of the relay --------------------------------------------------------------------------------------


def begin(transport: Transport, selection: Selection, consumer: str, *, backoff: Backoff) -> Bootstrap:
    """Pin the sources at the head. An answer that was lost leaves a pin whose lease ends by itself."""
    partitions = selection.partition
    body = {
        "sources": list(selection.sources),
        "consumer": consumer,
        "partition": None if partitions is None or partitions.is_all else partitions.text,
    }
    return _bootstrap(transport.call("POST", "/v1/bootstrap", body=body, backoff=backoff))


def resume(
    transport: Transport, selection: Selection, checkpoint: BootstrapCheckpoint, *, backoff: Backoff
) -> Bootstrap | None:
    """The bootstrap that a checkpoint stands in, for the partitions that are wanted now; None where it does not hold
    what is wanted. Raises BootstrapGoneError."""
    found = _bootstrap(transport.call("GET", _path(checkpoint.bootstrap), backoff=backoff))
    partitions = None if selection.partition is None or selection.partition.is_all else selection.partition
    if not _is_part(partitions, found.partitions):
        return None
    if selection.sources and set(selection.sources) != set(found.sources):
        return None
    return replace(found, resumed=True, partitions=partitions, shared=partitions != found.partitions)


def _is_part(partitions: Partitions | None, whole: Partitions | None) -> bool:
    if whole is None or partitions is None:
        return whole is None
    return partitions.count == whole.count and set(partitions.chosen) <= set(whole.chosen)


def _let_go(transport: Transport, begun: Bootstrap) -> None:
    """What cannot be let go now goes when its lease ends."""
    try:
        transport.call("DELETE", _path(begun.id))
    except RelayError as error:
        log.info("bootstrap %s: not let go: %s", begun.id, error)


def _bootstrap(answer: Any) -> Bootstrap:
    try:
        return Bootstrap(
            id=answer["id"],
            generation=answer["generation"],
            cursor=Cursor.parse(answer["cursor"]),
            sources=tuple(entry["source"] for entry in answer["sources"]),
            rows={entry["source"]: entry["rows"] for entry in answer["sources"]},
            partitions=None if answer["partition"] is None else Partitions.parse(answer["partition"]),
            lease_seconds=answer["lease_seconds"],
        )
    except (KeyError, TypeError, UsageError):
        raise RelayError("bootstrap: the answer is no relay's", hint="is this the URL of a relay?") from None


def _path(bootstrap_id: str, more: str = "") -> str:
    return f"/v1/bootstrap/{segment(bootstrap_id)}{more}"


# -- the road --------------------------------------------------------------------------------------------------------


def bootstrap_road(transport: Transport, begun: Bootstrap, consumer: Consumer, retries: Retries) -> Road:
    """The pages of a bootstrap from a BootstrapCheckpoint on; it ends with the stream's checkpoint."""

    def start(checkpoint: Checkpoint) -> Prefetch[Piece | Mark]:
        stop, line = threading.Event(), transport.another()
        return ahead(lambda: read_pages(line, begun, checkpoint, backoff=Backoff(retries, stop)), line, stop)

    return Road(open=start, callbacks=_callbacks(begun, consumer))


def _callbacks(begun: Bootstrap, consumer: Consumer) -> Callbacks:
    """As usual, but for the last checkpoint, before which the consumer is told that all rows came."""
    usual = bootstrap_callbacks(consumer)

    def checkpoint(reached: Checkpoint) -> Answer:
        if isinstance(reached, BootstrapCheckpoint):
            return usual.checkpoint(reached)
        answers = (
            guarded("on_bootstrap_end", consumer.on_bootstrap_end, begun),
            guarded("on_bootstrap_checkpoint", usual.checkpoint, reached),
        )
        return Next.STOP if Next.STOP in answers else None

    return replace(usual, checkpoint=checkpoint)


def read_pages(
    transport: Transport, begun: Bootstrap, start: Checkpoint, *, backoff: Backoff
) -> Iterator[Piece | Mark]:
    """Rows of all sources behind a checkpoint, as pieces that end at pages, and a mark after each source.

    Transient errors are waited out. Raises BootstrapGoneError.
    """
    if isinstance(start, BootstrapCheckpoint):
        done = start.done
        for source in begun.sources:
            if source in done:
                continue
            page = start.page if source == start.source else None
            for piece in _rows(transport, begun, done, source, page, backoff):
                page = piece.end.page if isinstance(piece.end, BootstrapCheckpoint) else None
                yield piece
            if backoff.stopped:
                return
            done = (*done, source)
            yield Mark(checkpoint=begun.checkpoint(done, source, page), caught_up=False)
    yield Mark(checkpoint=StreamCheckpoint(cursor=begun.cursor), caught_up=True)


def _rows(
    transport: Transport, begun: Bootstrap, done: tuple[str, ...], source: str, page: str | None, backoff: Backoff
) -> Iterator[Piece]:
    """The rows of one source behind a page."""
    path = _path(begun.id, f"/{segment(source)}")
    more = True
    while more and not backoff.stopped:
        query = [("format", "frames")]
        if page is not None:
            query.append(("cursor", page))
        if begun.partitions is not None:
            query.append(("partition", begun.partitions.text))
        try:
            with transport.stream(path, query=query) as answer:
                end, more = _end(answer.headers)
                for frame in read_frames(answer.body):
                    page = frame.page
                    backoff.reset()
                    yield Piece(
                        batch=frame.batch,
                        cursor=frame.cursor,
                        window=None,
                        end=begun.checkpoint(done, source, page),
                        within=None,
                    )
        except RelayUnavailableError as error:
            more = True
            if not backoff.stopped:
                backoff.wait(error)
            continue
        page = end


def _end(headers: Mapping[str, str]) -> tuple[str, bool]:
    """Where a body ends, and whether there is more behind it."""
    try:
        return headers["Differ-Cursor"], headers["Differ-More"] != "false"
    except KeyError:
        raise RelayError("bootstrap: the answer is no relay's", hint="is this the URL of a relay?") from None


class Renewing:
    """Renews a bootstrap's lease in a thread while the consumer works, however slow it is."""

    def __init__(self, transport: Transport, begun: Bootstrap) -> None:
        self._transport, self._begun = transport.another(), begun
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="differ-renew", daemon=True)

    def __enter__(self) -> Renewing:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._ended.set()
        while self._thread.is_alive():
            self._transport.abort()  # Again and again, as a call may just be about to begin.
            self._thread.join(0.05)
        self._transport.close()

    def _run(self) -> None:
        """A renewal that fails is tried again at the next turn; that the pin is gone is told by its pages."""
        while not self._ended.wait(self._begun.lease_seconds / RENEWALS):
            try:
                self._transport.call("POST", _path(self._begun.id, "/renew"))
            except DifferError as error:
                if not self._ended.is_set():
                    log.info("bootstrap %s: not renewed: %s", self._begun.id, error)
