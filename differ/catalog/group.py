"""One consumer group: who its members are, who owns which partition, and every way that can change. Pure, no I/O.

    join        a new member, the youngest; partitions that nobody owns are granted at once
    beat        the member lives on; what it says it released is free, and granted to whom it should belong
    leave       all of a member's partitions are free
    expire      the same for each member whose lease has ended
    admit       may this member still commit checkpoints of these partitions?

A partition moves only when its owner released it, left, or let its lease end: never because the assignment would like
it elsewhere. Each grant raises the partition's token, so whoever owned it before, and wakes up late, is fenced.

Invariant: a partition has at most one owner, which is a member with a lease; its token only grows.
Source: Kleppmann, "How to do distributed locking" (fencing tokens); Kafka's cooperative rebalancing (KIP-429).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from differ.catalog.assignment import assign
from differ.errors import FencedError, UsageError
from differ.formats.partitions import VIRTUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member: the lower `seniority`, the elder. `lease_until` is in seconds of the relay's clock."""

    id: str
    seniority: int
    lease_until: float
    lease_seconds: float
    client: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One of the group's partitions. checkpoint: the JSON text of where its processing stands, None at first."""

    owner: str | None = None
    token: int = 0
    checkpoint: str | None = None


@dataclass(slots=True, kw_only=True)
class Group:
    """The group's state and its transitions; `version` grows with every change of members or owners."""

    name: str
    sources: tuple[str, ...]
    exclusive: bool
    version: int = 0
    joins: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    partitions: list[Partition] = field(default_factory=lambda: [Partition()] * VIRTUAL)

    def expire(self, now: float) -> None:
        """Let go the members whose lease has ended. A clock that was set back lengthens no lease."""
        for member in list(self.members.values()):
            if member.lease_until <= now:
                self._drop(member.id)
            elif member.lease_until > now + member.lease_seconds:
                self.members[member.id] = replace(member, lease_until=now + member.lease_seconds)
        self._settle()

    def join(
        self,
        member: str,
        *,
        sources: Sequence[str],
        exclusive: bool,
        lease_seconds: float,
        client: str | None,
        now: float,
    ) -> None:
        """Take a member in. One that is in already only renews its lease, so that a lost answer can be asked again.

        Raises UsageError when other sources, or the other kind of sharing, are asked for than the living members have.
        """
        self.expire(now)
        self._agree(tuple(sorted(set(sources))), exclusive)
        known = self.members.get(member)
        if known is None:
            self.joins += 1
            self.version += 1
        seniority = known.seniority if known is not None else self.joins
        self.members[member] = Member(
            id=member,
            seniority=seniority,
            lease_until=now + lease_seconds,
            lease_seconds=lease_seconds,
            client=client,
        )
        self._settle()

    def beat(self, member: str, *, released: Collection[int], now: float) -> None:
        """Renew a lease and free what its member released. Raises FencedError when the lease had ended."""
        self.expire(now)
        known = self.living(member)
        self.members[member] = replace(known, lease_until=now + known.lease_seconds)
        for number in released:
            if self.partitions[number].owner == member:
                self._free(number)
        self._settle()

    def leave(self, member: str, *, now: float) -> bool:
        """Let a member go; False when it was none."""
        self.expire(now)
        if member not in self.members:
            return False
        self._drop(member)
        self._settle()
        return True

    def disband(self) -> None:
        """Let all members go: each is fenced, and has to join anew."""
        for member in list(self.members):
            self._drop(member)

    def forget(self) -> None:
        """Forget where all partitions stand."""
        self.partitions = [replace(found, checkpoint=None) for found in self.partitions]
        self.version += 1

    def copy(self) -> Group:
        """The same state, to be changed on its own."""
        return replace(self, members=dict(self.members), partitions=list(self.partitions))

    def living(self, member: str) -> Member:
        """The member; raises FencedError when it is none (any more)."""
        if member not in self.members:
            raise fenced(self.name, member, "its lease ended, or it left")
        return self.members[member]

    def owned(self, member: str) -> dict[int, Partition]:
        """The partitions that the member owns, also those that it is to release."""
        return {number: found for number, found in enumerate(self.partitions) if found.owner == member}

    def revoked(self, member: str) -> tuple[int, ...]:
        """What the member owns and should release, ascending."""
        return tuple(number for number, to in enumerate(self._target()) if self._owner(number) == member != to)

    def _agree(self, sources: tuple[str, ...], exclusive: bool) -> None:
        if (sources, exclusive) == (self.sources, self.exclusive):
            return
        if self.members:
            raise UsageError(
                f"join consumer group {self.name} for {_spoken(sources, exclusive)}: its {len(self.members)} members "
                f"follow {_spoken(self.sources, self.exclusive)}",
                hint="one group has one subscription; to change it, stop all its members first, then start them anew",
            )
        if self.sources and not (sources and set(sources) <= set(self.sources)):
            # The checkpoints say nothing of a source that was not followed.
            self.forget()
        self.sources, self.exclusive = sources, exclusive
        self.version += 1

    def _drop(self, member: str) -> None:
        del self.members[member]
        self.version += 1
        for number in self.owned(member):
            self._free(number)

    def _free(self, number: int) -> None:
        self.partitions[number] = replace(self.partitions[number], owner=None)
        self.version += 1

    def _settle(self) -> None:
        """Grant what nobody owns to whom it should belong, under a new token."""
        if not self.members or all(found.owner is not None for found in self.partitions):
            return
        for number, member in enumerate(self._target()):
            found = self.partitions[number]
            if found.owner is None:
                self.partitions[number] = replace(found, owner=member, token=found.token + 1)
                self.version += 1

    def _target(self) -> list[str | None]:
        eldest_first = sorted(self.members.values(), key=lambda member: member.seniority)
        owners = [found.owner for found in self.partitions]
        return assign([member.id for member in eldest_first], owners, exclusive=self.exclusive)

    def _owner(self, number: int) -> str | None:
        return self.partitions[number].owner


def admit(group: str, member: str, tokens: Mapping[int, int], held: Mapping[int, int]) -> None:
    """Raise FencedError unless the member holds every partition of `tokens` under just that token; see `Group`.

    held: the tokens of what a member with a living lease owns.
    """
    stale = sorted(number for number, token in tokens.items() if held.get(number) != token)
    if stale:
        raise fenced(
            group, member, f"it does not own partition {', '.join(map(str, stale[:8]))} under its token any more"
        )


def fenced(group: str, member: str, why: str) -> FencedError:
    """The error of a member that acts on what it lost."""
    return FencedError(
        f"member {member} of consumer group {group}: {why}", hint="join again and start from the stored checkpoints"
    )


def _spoken(sources: tuple[str, ...], exclusive: bool) -> str:
    return f"{', '.join(sources) or 'all sources'}{' exclusively' if exclusive else ''}"
