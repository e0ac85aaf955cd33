"""The loop of a run: take pieces off a road, deliver them, store checkpoints, and go back to the last one on a failure.

    piece   window start, chunks to the callbacks, window end, checkpoint when one is due
    mark    progress without events: a quiet consumer's checkpoint moves as well

Invariants: a checkpoint is stored only when everything before it was processed; between two stored checkpoints every
event is delivered at least once, per key in order; after a failure nothing is delivered until the replay.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from differ.client.consumer import Answer, Next
from differ.client.deadletters import error_text
from differ.client.delivery import Chunk, Deliverer, FailedError, Failure
from differ.client.positions import Positions
from differ.client.prefetch import End, Prefetch
from differ.client.retries import Backoff
from differ.client.road import Mark, Piece, Road
from differ.client.troubles import Troubles
from differ.errors import ConsumerError, DifferError, FencedError
from differ.formats.batch import EventBatch
from differ.formats.checkpoint import Checkpoint
from differ.formats.events import change_events
from differ.model import ChangeEvent, Window

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""While nothing comes, the loop looks so often whether it should stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When checkpoints are due: after so many events or seconds; where only quiet SCNs went by, after `idle_seconds`.

    batch_events: how many events `on_events` is given at most.
    """

    checkpoint_events: int = 10_000
    checkpoint_seconds: float = 1.0
    idle_seconds: float = 10.0
    batch_events: int = 10_000


class Ended(enum.Enum):
    """Why `travel` returned."""

    ROAD = "the road ended"
    STOPPED = "told to stop"
    CHANGED = "the assignment changed"


class _Stopped(Exception):  # noqa: N818
    """A callback asked to stop, and the checkpoint was stored."""


class Loop:
    """Travels roads for one consumer. For the run's own thread; `stop` may be set by any.

    stored: the checkpoint that was stored last.
    """

    def __init__(
        self,
        *,
        positions: Positions,
        deliverer: Deliverer,
        troubles: Troubles,
        pace: Pace,
        backoff: Backoff,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._positions, self._deliverer, self._troubles = positions, deliverer, troubles
        self._pace, self._backoff, self._stop, self._clock = pace, backoff, stop, clock
        self.stored: Checkpoint | None = None

    def travel(self, road: Road, start: Checkpoint) -> Ended:
        """Follow a road from a checkpoint; afterwards `stored` says how far it came.

        Raises ConsumerError when a callback keeps failing, and what the road raises, such as ScnTooOldError.
        """
        self.stored = start
        while True:
            self._begin()
            feed = road.open(self.stored)
            try:
                return self._follow(road, feed)
            except FailedError as failed:
                feed.close()
                if not self._go_back(road, failed):
                    return Ended.STOPPED
            except FencedError as error:
                feed.close()
                log.info("checkpoint refused: %s", error)
                self._roll_back(road)
                return Ended.CHANGED
            except _Stopped:
                return Ended.STOPPED
            finally:
                feed.close()

    def store(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint that no callback is asked about. Raises FencedError; FailedError where it may be tried
        again; another DifferError where it may not."""
        try:
            self._positions.save(checkpoint)
        except Exception as error:
            failed = FailedError(Failure(callback="storing the checkpoint", error=error))
            if not isinstance(error, DifferError):
                raise halted(failed) from error
            if isinstance(error, FencedError) or not error.transient:
                raise
            raise failed from error
        self.stored = checkpoint

    # -- the straight road -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Nothing was delivered since the stored checkpoint."""
        self._reached: Checkpoint | None = None
        self._delivered = 0
        self._last: ChangeEvent | None = None
        self._window: Window | None = None
        self._skipped: Window | None = None
        self._asked: Answer = None
        self._looked_at = self._clock()

    def _follow(self, road: Road, feed: Prefetch[Piece | Mark]) -> Ended:
        while not self._interrupted():
            item = feed.get(LOOK_SECONDS)
            if isinstance(item, End):
                self._end_window(road)
                self._checkpoint(road)
                return Ended.ROAD
            if item is None:
                self._rest(road)
            elif isinstance(item, Mark):
                self._pass(road, item)
            else:
                self._deliver(road, item)
        self._checkpoint(road)
        return Ended.STOPPED if self._stop.is_set() else Ended.CHANGED

    def _interrupted(self) -> bool:
        return self._stop.is_set() or self._positions.changed()

    def _pass(self, road: Road, mark: Mark) -> None:
        if self._window is not None and mark.checkpoint.cursor.scn >= self._window.last:
            self._end_window(road)
        self._reached = mark.checkpoint
        if mark.caught_up and self._delivered:
            self._checkpoint(road)
        else:
            self._rest(road)

    def _rest(self, road: Road) -> None:
        """Nothing is delivered just now; where only quiet SCNs went by, that is stored now and then."""
        if self._clock() - self._looked_at >= self._pace.idle_seconds:
            self._checkpoint(road)

    def _deliver(self, road: Road, piece: Piece) -> None:
        """Deliver a piece, or its begin when the loop is interrupted meanwhile."""
        if piece.window is not None and piece.window != self._window:
            self._end_window(road)
            self._start_window(road, piece.window)
        left = piece.batch
        if self._skipped is not None and piece.window == self._skipped:
            left = left.slice(0, 0)
            self._reached = piece.end
        while len(left):
            rows = self._room()
            part, left = left.slice(0, rows), left.slice(rows)
            if not self._deliver_part(road, piece, part):
                return
            if not len(left):
                break
            if piece.within is not None:
                self._reached = piece.within(last_scn(part))
                self._steer(road)
            if self._interrupted():
                return
        self._reached = piece.end
        if piece.window is not None and last_scn(piece.batch) == piece.window.last:
            self._end_window(road)
        else:
            self._steer(road)

    def _deliver_part(self, road: Road, piece: Piece, part: EventBatch) -> bool:
        """Deliver a part of a piece; False when it was interrupted before its end."""
        chunk = Chunk(self._troubles.sift(part, piece.cursor), piece.cursor)
        while chunk.left:
            before = chunk.done
            try:
                self._ask(self._deliverer.deliver(chunk, road.callbacks))
            finally:
                if chunk.done > before:
                    self._delivered += chunk.done - before
                    self._last = self._only(chunk)
            if not chunk.left:
                break
            if piece.within is not None:
                self._reached = piece.within(chunk.last_scn)
                self._steer(road)
            if self._interrupted():
                return False
        return True

    def _room(self) -> int:
        """How many events may be delivered at once: not past a due checkpoint, not more than fit in a batch."""
        limit = min(self._pace.checkpoint_events, self._troubles.span or self._pace.checkpoint_events)
        room = limit - self._delivered
        return min(room if room > 0 else limit, self._pace.batch_events)

    def _only(self, chunk: Chunk) -> ChangeEvent | None:
        """The event that was delivered since the checkpoint, when it was but one."""
        return next(change_events(chunk.batch.slice(chunk.done - 1, 1))) if self._delivered == 1 else None

    def _start_window(self, road: Road, window: Window) -> None:
        self._window = window
        if road.callbacks.window_start is not None:
            answer = self._call(road, "window_start", road.callbacks.window_start, window)
            if answer is Next.SKIP:
                self._skipped = window
            self._ask(answer)

    def _end_window(self, road: Road) -> None:
        window, self._window = self._window, None
        if window is None:
            return
        answer: Answer = None
        if road.callbacks.window_end is not None and window != self._skipped:
            answer = self._call(road, "window_end", road.callbacks.window_end, window)
            self._ask(answer)
        if answer is not Next.SKIP:
            self._steer(road)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def _ask(self, answer: Answer) -> None:
        """Remember what a callback asked for, until it can be done."""
        if answer in (Next.STOP, Next.CHECKPOINT) and self._asked is not Next.STOP:
            self._asked = answer

    def _steer(self, road: Road) -> None:
        """Here a checkpoint is possible: do what was asked for, or what is due."""
        if self._asked is not None:
            self._checkpoint(road)
            if self._asked is Next.STOP:
                raise _Stopped
            self._asked = None
        elif (
            self._delivered >= min(self._pace.checkpoint_events, self._troubles.span or self._pace.checkpoint_events)
            or self._clock() - self._looked_at >= self._pace.checkpoint_seconds
        ):
            self._checkpoint(road)

    def _checkpoint(self, road: Road) -> None:
        self._positions.check()
        self._looked_at = self._clock()
        reached = self._reached
        if reached is None or reached == self.stored:
            return
        answer = self._call(road, "checkpoint", road.callbacks.checkpoint, reached)
        if answer is Next.SKIP:
            return
        self.store(reached)
        self._delivered = 0
        self._troubles.checkpointed(reached)
        self._backoff.reset()
        if answer is Next.STOP:
            raise _Stopped

    # -- when something failed ---------------------------------------------------------------------------------------

    def _go_back(self, road: Road, failed: FailedError) -> bool:
        """Back to the stored checkpoint, after the back-off where there is one; False to stop there."""
        verdicts = [self._troubles.judge(failure, self._delivered, self._last) for failure in failed.failures]
        self._roll_back(road)
        if Next.STOP in verdicts:
            return False
        if True in verdicts and not self._stop.is_set():
            failure = failed.failures[verdicts.index(True)]
            try:
                self._backoff.wait(failure.error)
            except Exception as error:
                raise ConsumerError(
                    f"{failure.callback} kept failing for as long as `give_up_after` says: {error_text(error)}"
                ) from error
        return not self._stop.is_set()

    def _roll_back(self, road: Road) -> None:
        try:
            self._call(road, "rollback", road.callbacks.rollback, self.stored)
        except FailedError as failed:
            raise halted(failed) from failed.failures[0].error

    def _call(self, road: Road, name: str, function: Callable[..., Answer], *arguments: object) -> Answer:
        return self._deliverer.call(road.callbacks.prefix + name, function, *arguments)


def halted(failed: FailedError) -> ConsumerError:
    """The end of a run by a callback that is not tried again."""
    failure = failed.failures[0]
    return ConsumerError(f"{failure.callback} failed: {error_text(failure.error)}", hint="mend the consumer")


def last_scn(batch: EventBatch) -> int:
    """The SCN of a batch's last event."""
    return batch.first_scn + int(batch.events.column("ordinal")[-1].as_py())
