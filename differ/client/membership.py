"""A member of a consumer group: which partitions are ours, and whether they still are.

    join -> a thread sends heartbeats, three in a lease or more -> leave
            what it is answered: tokens of our partitions, where each stands, which we should release

A member that cannot reach the relay, hangs or was stopped counts its own lease: from the moment it sent the last
heartbeat that was answered, on a clock that runs on while the machine sleeps. It so knows that the lease is over no
later than the relay does, and stops delivering before others begin. What it has under way then cannot be taken back,
but its checkpoint is refused.

Invariant: after `release(x)`, x is ours again only under a new token. One membership is one lease: once `lost`, it
stays so, and the member joins anew under another id.
Source: Gray and Cheriton's leases (1989), held on the safe side of the clock; Kafka's heartbeat thread (KIP-62).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from differ.client.checkpoints import client_name
from differ.client.retries import Backoff
from differ.client.transport import Transport, segment
from differ.errors import DifferError, FencedError, RelayError, RelayUnavailableError, UsageError
from differ.formats.checkpoint import Checkpoint, checkpoint_from_json
from differ.formats.partitions import VIRTUAL, Partitions

log = logging.getLogger(__name__)

BEATS, BEAT_SECONDS_MAX = 3, 2.0
"""So many heartbeats are sent in a lease at least, and one every so many seconds: by them others learn what changed."""
MARGIN_SHARE, MARGIN_SECONDS = 0.1, 0.4
"""So long before the lease ends, at least, nothing more is delivered: this part of it, and this long: what is delivered
between two looks of the run."""


def awake_and_asleep() -> float:
    """Seconds of a clock that never goes back, and runs on while the machine is suspended where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the relay last said: our partitions with their tokens, and which of them it wants back.

    checkpoints: where a partition stood when it became ours; those that stand nowhere are not in it.
    """

    version: int
    tokens: Mapping[int, int]
    checkpoints: Mapping[int, Checkpoint] = field(default_factory=dict)
    revoked: frozenset[int] = frozenset()


class Membership:
    """One lease in one group. `join` first; the other methods may be called from any thread.

    transport: for calls of the run's thread; heartbeats take connections of their own. lease_seconds: None for the
    relay's usual one. clock: seconds, as `awake_and_asleep`.
    """

    def __init__(
        self,
        transport: Transport,
        group: str,
        *,
        sources: Sequence[str] = (),
        exclusive: bool = False,
        lease_seconds: float | None = None,
        clock: Callable[[], float] = awake_and_asleep,
    ) -> None:
        self.member = str(uuid.uuid4())
        self._transport, self.group = transport, group
        self._asked = {"sources": list(sources), "exclusive": exclusive, "client": client_name()}
        if lease_seconds is not None:
            self._asked["lease_seconds"] = lease_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._share = Share(version=0, tokens={})
        self._released: set[int] = set()
        self._lease_seconds = 0.0
        self._until = 0.0
        self._error: DifferError | None = None
        self._quick: Transport | None = None
        self._thread: threading.Thread | None = None

    # -- what the run asks -------------------------------------------------------------------------------------------

    @property
    def share(self) -> Share:
        """What is ours as far as we know; `version` tells whether anything changed."""
        with self._lock:
            return self._share

    @property
    def lost(self) -> bool:
        """Whether the lease is over, or so nearly that nothing more may be delivered. It never comes back."""
        return self._error is not None or self._clock() >= self._until

    def check(self) -> None:
        """Raise FencedError when the lease is lost, or what else ended it (the group asks for other sources now)."""
        if self._error is not None:
            raise self._error
        if self._clock() >= self._until:
            raise FencedError(
                f"member {self.member} of consumer group {self.group}: the relay did not answer within the lease of "
                f"{self._lease_seconds:g} s",
                hint="join again and start from the stored checkpoints",
            )

    def wait_changed(self, version: int, seconds: float) -> None:
        """Wait until the share is of another version, the lease is lost, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._share.version != version or self.lost, timeout=seconds)

    # -- what the run does -------------------------------------------------------------------------------------------

    def join(self, backoff: Backoff | None = None) -> Share:
        """Become a member and begin to send heartbeats. Raises UsageError when the group follows other sources,
        RelayUnavailableError when the relay stays away."""
        body = {"member": self.member, **self._asked}
        while True:
            sent = self._clock()  # Of the attempt that is answered: the lease is no older than that.
            try:
                answer = self._transport.call("POST", self._path("join"), body=body)
                break
            except RelayUnavailableError as error:
                if backoff is None:
                    raise
                backoff.wait(error)
                if backoff.stopped:
                    raise
        if backoff is not None:
            backoff.reset()
        self._take(answer, sent, frozenset())
        self._quick = self._transport.another(read_seconds=self._lease_seconds / BEATS)
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{self.group}", daemon=True)
        self._thread.start()
        return self.share

    def release(self, numbers: Collection[int]) -> None:
        """Give up partitions whose checkpoints are stored: from now on they are not ours. The relay is told at once."""
        with self._lock:
            self._released |= set(numbers) & self._share.tokens.keys()
            self._share = self._without(self._share, self._released)
        self._wake.set()

    def save(self, checkpoints: Mapping[int, Checkpoint], backoff: Backoff | None = None) -> None:
        """Store where partitions stand. Raises FencedError when any of them is not ours, and then stores none."""
        with self._lock:
            tokens = self._share.tokens
        if foreign := sorted(checkpoints.keys() - tokens.keys()):
            raise FencedError(
                f"member {self.member} of consumer group {self.group}: partition {foreign[0]} is not its own",
                hint="join again and start from the stored checkpoints",
            )
        numbers: dict[Checkpoint, list[int]] = defaultdict(list)
        for number, checkpoint in sorted(checkpoints.items()):
            numbers[checkpoint].append(number)
        body = {
            "member": self.member,
            "tokens": {str(number): tokens[number] for number in sorted(checkpoints)},
            "checkpoints": {_ranges(chosen): checkpoint.to_json() for checkpoint, chosen in numbers.items()},
        }
        try:
            self._transport.call("PUT", f"/v1/consumers/{segment(self.group)}", body=body, backoff=backoff)
        except FencedError as error:
            self._fail(error)
            raise

    def leave(self) -> None:
        """Free all partitions at once, whose checkpoints are stored, and end the thread; idempotent. Where the relay
        cannot be reached, the lease ends by itself."""
        was_refused = isinstance(self._error, FencedError)
        self.close()
        if not was_refused and self._quick is not None:
            with suppress(RelayError):
                self._quick.call("POST", self._path("leave"), body={"member": self.member})
            self._quick.close()
        self._quick = None

    def close(self) -> None:
        """End the heartbeats without leaving: the lease then ends by itself."""
        self._ended.set()
        self._wake.set()
        if self._thread is not None:
            while self._thread.is_alive():
                if self._quick is not None:
                    self._quick.abort()
                self._thread.join(0.05)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        assert self._quick is not None  # noqa: S101
        pause = usual = min(self._lease_seconds / BEATS, BEAT_SECONDS_MAX)
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._ended.is_set():
                return
            if self.lost:
                self._tell()
                return
            pause = usual if self._heartbeat(self._quick) else usual / 4

    def _heartbeat(self, transport: Transport) -> bool:
        """Send one; False when it should soon be tried again."""
        with self._lock:
            released = frozenset(self._released)
            version = self._share.version
        sent = self._clock()
        body = {"member": self.member, "version": version, "released": sorted(released)}
        try:
            self._take(transport.call("POST", self._path("heartbeat"), body=body), sent, released)
        except DifferError as error:
            if not error.transient:
                self._fail(error)
                return True
            if self._ended.is_set():
                return False
            log.warning("consumer group %s: heartbeat: %s", self.group, error.message)
            return False
        return True

    def _take(self, answer: Any, sent: float, acknowledged: frozenset[int]) -> None:
        """Believe what the relay answered to a call that was sent at that time. Raises RelayError for what is none."""
        fresh, lease_seconds = _parsed(answer)
        with self._changed:
            self._lease_seconds = lease_seconds
            self._until = sent + lease_seconds - max(lease_seconds * MARGIN_SHARE, MARGIN_SECONDS)
            self._released -= acknowledged
            known = self._share
            kept = {number for number, token in fresh.tokens.items() if known.tokens.get(number) == token}
            checkpoints = {number: found for number, found in known.checkpoints.items() if number in kept}
            checkpoints |= {number: found for number, found in fresh.checkpoints.items() if number not in kept}
            # An answer to what was sent before the latest release still has what was released since.
            self._share = self._without(replace(fresh, checkpoints=checkpoints), self._released)
            self._changed.notify_all()

    @staticmethod
    def _without(share: Share, numbers: Collection[int]) -> Share:
        return Share(
            version=share.version,
            tokens={number: token for number, token in share.tokens.items() if number not in numbers},
            checkpoints={number: found for number, found in share.checkpoints.items() if number not in numbers},
            revoked=share.revoked - set(numbers),
        )

    def _fail(self, error: DifferError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _path(self, action: str) -> str:
        return f"/v1/consumer-groups/{segment(self.group)}/{action}"


def _parsed(answer: Any) -> tuple[Share, float]:
    """The share that an answer tells, and the length of the lease in seconds."""
    try:
        share = Share(
            version=int(answer["version"]),
            tokens={int(number): int(token) for number, token in answer["partitions"].items()},
            checkpoints={int(number): checkpoint_from_json(body) for number, body in answer["checkpoints"].items()},
            revoked=frozenset(int(number) for number in answer["revoked"]),
        )
        return share, float(answer["lease_seconds"])
    except (KeyError, TypeError, ValueError, AttributeError, UsageError):
        raise RelayError("consumer group: the answer is no relay's", hint="is this the URL of a relay?") from None


def _ranges(numbers: Sequence[int]) -> str:
    return Partitions(count=VIRTUAL, chosen=tuple(numbers)).text.partition("/")[0]
