"""Consumer groups in the consumers' database: leases, tokens, and a checkpoint for each partition.

Every call is one durable change of the group's whole state (see `group.Group` for what may happen in one), made under
the database's write lock, so all relays that share it decide as one. A member's checkpoint is admitted only while its
lease lives and it holds each partition under the token it names: two owners of a partition never both commit, whatever
hangs or wakes up late.

Leases are counted on the relay's clock. A wrong clock ends a lease early or late, but tokens keep what is stored right.
Source: Kleppmann, "How to do distributed locking"; docs/decisions/0018-consumer-groups.md.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, select, update

from differ.catalog.consumer_tables import members, partitions
from differ.catalog.consumers import Consumers, check_consumer_name
from differ.catalog.group import Group, admit, fenced
from differ.catalog.group_rows import adopt_consumer, load_group, store_group
from differ.errors import UsageError
from differ.formats.checkpoint import Checkpoint, checkpoint_from_json
from differ.formats.partitions import VIRTUAL

T = TypeVar("T")

LEASE_SECONDS = 15.0
LEASE_SECONDS_MIN, LEASE_SECONDS_MAX = 1.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a member has: its tokens by partition, where each stands (those that stand somewhere), what to release."""

    member: str
    lease_seconds: float
    version: int
    partitions: Mapping[int, int]
    checkpoints: Mapping[int, Checkpoint]
    revoked: tuple[int, ...]


class Groups:
    """The groups of one consumers' database. All methods may be called from any thread and block for a small commit.

    clock: seconds since the epoch, by which leases end.
    """

    def __init__(self, consumers: Consumers, *, clock: Callable[[], float] = time.time) -> None:
        self._consumers = consumers
        self._clock = clock

    def join(
        self,
        name: str,
        *,
        member: str | None = None,
        sources: Sequence[str] = (),
        exclusive: bool = False,
        lease_seconds: float = LEASE_SECONDS,
        client: str | None = None,
    ) -> Share:
        """Take a member into the group, which is made when there is none; an own id makes a repeated call harmless.

        sources: empty for all. A new group begins where a consumer of the same name and sources stands. Raises
        UsageError for a lease out of bounds, and when living members follow other sources or share otherwise.
        """
        if not LEASE_SECONDS_MIN <= lease_seconds <= LEASE_SECONDS_MAX:
            raise UsageError(
                f"join consumer group {name}: a lease of {lease_seconds:g} seconds",
                hint=f"lease_seconds is {LEASE_SECONDS_MIN:g} to {LEASE_SECONDS_MAX:g}",
            )
        check_consumer_name(name)
        own = member or str(uuid.uuid4())

        def work(connection: Connection) -> Share:
            before = load_group(connection, name)
            group = before.copy() if before else adopt_consumer(connection, name, sources, exclusive)
            group.join(
                own,
                sources=sources,
                exclusive=exclusive,
                lease_seconds=lease_seconds,
                client=client,
                now=self._clock(),
            )
            store_group(connection, group, before)
            return _share(group, own, known=None)

        return self._run(work)

    def heartbeat(self, name: str, member: str, *, version: int | None = None, released: Collection[int] = ()) -> Share:
        """Renew the member's lease and free what it released. At the version it knows, checkpoints are left out.

        Raises FencedError when its lease had ended, UsageError for a partition that is none.
        """
        check_consumer_name(name)
        _check_numbers(name, released)

        def work(connection: Connection) -> Share:
            before = load_group(connection, name)
            if before is None:
                raise fenced(name, member, "there is no such group")
            group = before.copy()
            group.beat(member, released=released, now=self._clock())
            store_group(connection, group, before)
            return _share(group, member, known=version)

        return self._run(work)

    def leave(self, name: str, member: str) -> bool:
        """Free all that the member owns at once; False when it was no member (any more). Idempotent."""
        check_consumer_name(name)

        def work(connection: Connection) -> bool:
            before = load_group(connection, name)
            if before is None:
                return False
            group = before.copy()
            left = group.leave(member, now=self._clock())
            store_group(connection, group, before)
            return left

        return self._run(work)

    def save(self, name: str, member: str, tokens: Mapping[int, int], checkpoints: Mapping[int, Checkpoint]) -> None:
        """Store where these partitions stand, all or none; durable when it returns. Touches only their rows.

        Raises FencedError when any token is stale or the member's lease has ended, UsageError for a partition that is
        none or comes without its token.
        """
        check_consumer_name(name)
        _check_numbers(name, {*tokens, *checkpoints})
        if missing := sorted(set(checkpoints) - set(tokens)):
            raise UsageError(
                f"checkpoint of consumer group {name}: partition {missing[0]} comes without its token",
                hint="send the tokens that join and heartbeat gave",
            )
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, checkpoint in checkpoints.items():
            numbers[json.dumps(checkpoint.to_json())].append(number)

        def work(connection: Connection) -> None:
            living = (members.c.group_name == name, members.c.id == member, members.c.lease_until > self._clock())
            if connection.execute(select(members.c.id).where(*living)).first() is None:
                raise fenced(name, member, "its lease ended, or it left")
            row = partitions.c
            owned = select(row.number, row.token).where(row.group_name == name, row.owner == member)
            admit(name, member, tokens, {found.number: found.token for found in connection.execute(owned)})
            for text, chosen in numbers.items():
                where = (row.group_name == name, row.number.in_(chosen))
                connection.execute(update(partitions).where(*where).values(checkpoint=text))

        self._run(work)

    def get(self, name: str) -> Group | None:
        """The group as it is stored; a member whose lease has ended is in it until another one calls."""
        with self._consumers.reading() as connection:
            return load_group(connection, name)

    def reset(self, name: str) -> bool:
        """Forget all checkpoints, so that the group bootstraps; its members are fenced and join anew."""

        def work(connection: Connection) -> bool:
            before = load_group(connection, name)
            if before is None:
                return False
            group = before.copy()
            group.disband()
            group.forget()
            store_group(connection, group, before)
            return True

        return self._run(work)

    def _run(self, work: Callable[[Connection], T]) -> T:
        """Do it in a transaction that it may share with others' work; durable when it returns."""
        future: Future[T] = self._consumers.submit(work)
        return future.result()


def _check_numbers(name: str, numbers: Collection[int]) -> None:
    for number in numbers:
        if not 0 <= number < VIRTUAL:
            raise UsageError(
                f"consumer group {name}: there is no partition {number}", hint=f"they are 0 to {VIRTUAL - 1}"
            )


def _share(group: Group, member: str, *, known: int | None) -> Share:
    owned = group.owned(member)
    parsed: dict[str, Checkpoint] = {}
    checkpoints: dict[int, Checkpoint] = {}
    for number, found in owned.items():
        if known != group.version and found.checkpoint is not None:
            if found.checkpoint not in parsed:
                parsed[found.checkpoint] = checkpoint_from_json(json.loads(found.checkpoint))
            checkpoints[number] = parsed[found.checkpoint]
    return Share(
        member=member,
        lease_seconds=group.members[member].lease_seconds,
        version=group.version,
        partitions={number: found.token for number, found in owned.items()},
        checkpoints=checkpoints,
        revoked=group.revoked(member),
    )
