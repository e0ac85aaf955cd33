"""What the loop travels: events that come from somewhere, can be resumed at a checkpoint, and go to some callbacks.

There are two roads, the stream (`stream_road`) and the pages of a bootstrap. Invariant: what a road gives after a
checkpoint is everything behind it that passes the filters, in order, each event once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from differ.client.delivery import Callbacks
from differ.client.prefetch import Prefetch
from differ.client.reading import Progress, Selection, read
from differ.client.retries import Backoff, Retries
from differ.client.transport import Transport
from differ.formats.batch import EventBatch
from differ.formats.checkpoint import Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.formats.frames import Frame
from differ.model import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Events to deliver, at least one.

    cursor: in the window of the events. end: the checkpoint after the last of them. within: the checkpoint after an
    SCN inside, None where one cannot stop inside. window: None on a road without windows.
    """

    batch: EventBatch
    cursor: Cursor
    window: Window | None
    end: Checkpoint
    within: Callable[[int], Checkpoint] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Everything up to a checkpoint was looked through. caught_up: nothing waits behind it."""

    checkpoint: Checkpoint
    caught_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """open: reads ahead from a checkpoint in a thread; the loop closes what it gives."""

    open: Callable[[Checkpoint], Prefetch[Piece | Mark]]
    callbacks: Callbacks


def stream_road(
    transport: Transport,
    selection: Selection,
    callbacks: Callbacks,
    retries: Retries,
    *,
    until_head: bool,
    own: Callable[[EventBatch], EventBatch] | None = None,
) -> Road:
    """The stream, from a StreamCheckpoint on; it ends at the head when `until_head`.

    own: takes what is the consumer's own from a batch, all when it is None.
    """

    def start(checkpoint: Checkpoint) -> Prefetch[Piece | Mark]:
        stop, line = threading.Event(), transport.another()
        backoff = Backoff(retries, stop)
        items = read(line, selection, checkpoint.cursor, backoff=backoff, until_head=until_head)
        return ahead(lambda: _pieces(items, own), line, stop)

    return Road(open=start, callbacks=callbacks)


def ahead(
    items: Callable[[], Iterator[Piece | Mark]], transport: Transport, stop: threading.Event
) -> Prefetch[Piece | Mark]:
    """Read a road ahead in a thread, which `stop` and the end of the transport's calls let end at once."""

    def end() -> None:
        stop.set()
        transport.abort()

    return Prefetch(items, stop=end)


def _pieces(
    items: Iterator[Frame | Progress], own: Callable[[EventBatch], EventBatch] | None
) -> Iterator[Piece | Mark]:
    for item in items:
        if isinstance(item, Progress):
            yield Mark(checkpoint=StreamCheckpoint(cursor=item.cursor), caught_up=item.caught_up)
            continue
        batch = item.batch if own is None else own(item.batch)
        if len(batch):
            yield _piece(batch, item.cursor)
        else:
            yield Mark(checkpoint=StreamCheckpoint(cursor=item.cursor), caught_up=False)


def _piece(batch: EventBatch, cursor: Cursor) -> Piece:
    return Piece(
        batch=batch,
        cursor=cursor,
        window=batch.window,
        end=StreamCheckpoint(cursor=cursor),
        within=lambda scn: StreamCheckpoint(cursor=cursor.at(scn)),
    )
