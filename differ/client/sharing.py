"""Positions of a member of a consumer group: which partitions it delivers now, and from where.

A member's partitions may stand at different places, so it takes them up in turns, each an `Assignment` of its own:

    in the middle of a bootstrap     those that stand at the same page go on together
    without a checkpoint             they begin together, as a new consumer does
    at a cursor the relay refuses    they are handed to the run with that cursor, which bootstraps them or ends
    all the rest                     from the lowest cursor on; events that a partition already has are left out

The last turn lasts until the share changes: then the run stores its checkpoint, what is revoked is released, and what
came is taken up. A member that lost its lease joins anew and begins where the stored checkpoints stand.

Invariant: an event is left out only when the stored checkpoint of its partition, verified by the relay, is behind it.
Source: Kafka's incremental cooperative rebalancing (KIP-429); Databus' and Aesop's clients of a cluster.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from differ.client.checkpoints import CheckpointStore
from differ.client.membership import Membership
from differ.client.positions import Assignment
from differ.client.retries import Backoff
from differ.errors import FencedError, ScnAheadError, ScnTooOldError, StreamChangedError
from differ.formats.batch import EventBatch
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.formats.partitions import VIRTUAL, Partitions
from differ.records.views import fixed_values

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""A member that stands by looks so often whether it was told to stop."""


class Shared:
    """See `Positions`. For the run's thread.

    seat: makes a membership that has not joined yet. verify: raises when the relay cannot go on from a cursor. store:
    where an exclusive member keeps its checkpoint beside the relay, whose copy then fences and holds events back.
    until_head: a member that stands by is at its end.
    """

    def __init__(
        self,
        seat: Callable[[], Membership],
        *,
        verify: Callable[[Cursor], object],
        backoff: Backoff,
        stop: threading.Event,
        until_head: bool = False,
        store: CheckpointStore | None = None,
    ) -> None:
        self._make, self._verify, self._backoff = seat, verify, backoff
        self._stop, self._until_head, self._store = stop, until_head, store
        self._seat: Membership | None = None
        self._tokens: dict[int, int] = {}
        self._at: dict[int, Checkpoint | None] = {}
        self._turn: tuple[int, ...] = ()
        self._floors: npt.NDArray[np.int64] = np.full(VIRTUAL, -1, dtype=np.int64)
        """Up to which SCN a partition was processed before the turn, where it is ahead of the others."""
        self._is_streaming = False

    # -- what the run asks -------------------------------------------------------------------------------------------

    def begin(self) -> Assignment | None:
        """The next turn; waits while other members have everything. None when told to stop, or at the head."""
        while not self._stop.is_set():
            seat = self._joined()
            share = seat.share
            if share.revoked:
                # The run stored where they stand, or rolled back to it, before it came here.
                seat.release(share.revoked)
                continue
            if dict(share.tokens) != self._tokens:
                log.info("consumer group %s: %d of %d partitions are ours", seat.group, len(share.tokens), VIRTUAL)
                try:
                    self._take_up(share.tokens, share.checkpoints)
                except FencedError:
                    continue
            if self._at:
                return self._next_turn()
            if self._until_head:
                return None
            seat.wait_changed(share.version, LOOK_SECONDS)
        return None

    def changed(self) -> bool:
        """Whether the turn is over: the lease is lost, partitions are revoked or came, or others have waited."""
        seat = self._seat
        if seat is None or seat.lost:
            return True
        share = seat.share
        if share.revoked:
            return True
        return self._is_streaming and (len(self._turn) < len(self._at) or share.tokens != self._tokens)

    def check(self) -> None:
        """Raise FencedError when the lease is lost: nothing may be delivered or made durable any more."""
        if self._seat is not None:
            self._seat.check()

    def save(self, checkpoint: Checkpoint) -> None:
        """Store it for those partitions of the turn that have not come further. Raises FencedError."""
        assert self._seat is not None  # noqa: S101
        if isinstance(checkpoint, BootstrapCheckpoint):
            self._floors = np.full(VIRTUAL, -1, dtype=np.int64)  # Whatever they had is replaced.
        moved = {number: checkpoint for number in self._turn if self._floors[number] <= checkpoint.cursor.scn}
        self._seat.save(moved, self._backoff)
        if self._store is not None:
            self._store.save(checkpoint)
        self._at.update(moved)
        self._is_streaming = isinstance(checkpoint, StreamCheckpoint)

    def close(self) -> None:
        """Leave the group: others have the partitions at once."""
        if self._seat is not None:
            self._seat.leave()

    # -- turns -------------------------------------------------------------------------------------------------------

    def _joined(self) -> Membership:
        """The membership, a new one where the last is lost. Raises what ended that one for good, and UsageError."""
        if self._seat is not None and self._seat.lost:
            log.warning("consumer group: the lease is lost; joining anew")
            self._seat.leave()
            self._seat = None
        if self._seat is None:
            seat = self._make()
            seat.join(self._backoff)
            self._seat, self._tokens, self._at = seat, {}, {}
        return self._seat

    def _take_up(self, tokens: Mapping[int, int], checkpoints: Mapping[int, Checkpoint]) -> None:
        """Keep what we know of our own partitions, and begin with others where they were left."""
        if self._store is not None and tokens:
            checkpoint = self._store.load()
            self._at = dict.fromkeys(tokens, checkpoint)
            if checkpoint is not None:
                self._report(checkpoint)
        else:
            self._at = {
                number: self._at[number] if self._tokens.get(number) == token else checkpoints.get(number)
                for number, token in tokens.items()
            }
        self._tokens = dict(tokens)

    def _report(self, checkpoint: Checkpoint) -> None:
        """Tell the relay where the destination stands, so that it keeps what comes after."""
        assert self._seat is not None  # noqa: S101
        try:
            self._seat.save(dict.fromkeys(self._at, checkpoint), self._backoff)
        except (StreamChangedError, ScnAheadError) as error:
            log.info("consumer group: %s", error)  # The run will be told the same, and bootstraps.

    def _next_turn(self) -> Assignment:
        places: dict[Checkpoint | None, list[int]] = defaultdict(list)
        for number, checkpoint in sorted(self._at.items()):
            places[checkpoint].append(number)
        self._floors = np.full(VIRTUAL, -1, dtype=np.int64)
        cursors = []
        for checkpoint, numbers in places.items():
            if not isinstance(checkpoint, StreamCheckpoint):
                return self._turn_of(numbers, checkpoint)
            cursors.append(checkpoint.cursor)
        if len(cursors) == 1:
            return self._turn_of(sorted(self._at), StreamCheckpoint(cursor=cursors[0]))
        for cursor in cursors:
            if self._is_refused(cursor):
                refused = StreamCheckpoint(cursor=cursor)
                return self._turn_of(places[refused], refused)
        lowest = min(cursors, key=lambda cursor: cursor.scn)
        for cursor in cursors:
            if cursor.scn > lowest.scn:
                self._floors[places[StreamCheckpoint(cursor=cursor)]] = cursor.scn
        return self._turn_of(sorted(self._at), StreamCheckpoint(cursor=lowest), own=self._unprocessed)

    def _turn_of(
        self,
        numbers: Sequence[int],
        checkpoint: Checkpoint | None,
        own: Callable[[EventBatch], EventBatch] | None = None,
    ) -> Assignment:
        self._turn = tuple(numbers)
        self._is_streaming = len(numbers) == len(self._at) and isinstance(checkpoint, StreamCheckpoint)
        partitions = None if len(numbers) == VIRTUAL else Partitions(count=VIRTUAL, chosen=self._turn)
        return Assignment(checkpoint=checkpoint, partitions=partitions, own=own)

    def _unprocessed(self, batch: EventBatch) -> EventBatch:
        """The events of a batch that their partition does not have yet. Called from the thread that reads ahead."""
        partitions = fixed_values(batch.events.column("partition")) % np.uint64(VIRTUAL)
        scns = fixed_values(batch.events.column("ordinal")).astype(np.int64) + batch.first_scn
        keep = scns > self._floors[partitions]
        return batch if keep.all() else batch.take(pa.array(keep))

    def _is_refused(self, cursor: Cursor) -> bool:
        try:
            self._verify(cursor)
        except (ScnTooOldError, ScnAheadError, StreamChangedError) as error:
            log.info("consumer group: %s", error)
            return True
        return False
