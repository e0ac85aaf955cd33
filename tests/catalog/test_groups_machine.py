"""Whatever members do, and whenever they hang or come back: one owner at a time commits, and nothing moves by force.

The machine plays members that know only what they were last told, against one group and a clock of its own.
"""

from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from differ.catalog.group import Group, admit
from differ.errors import FencedError, UsageError

LEASE = 10.0


class Seat:
    """A member as it sees itself: what it was last told, and until when it may rely on it by its own count."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.tokens: dict[int, int] = {}
        self.revoked: tuple[int, ...] = ()
        self.until = 0.0


class GroupMachine(RuleBasedStateMachine):
    """Joins, heartbeats (with and without what was to be released), leaves, time, and checkpoints of anybody."""

    seats = Bundle("seats")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.group = Group(name="g", sources=(), exclusive=False)
        self.seated: dict[str, Seat] = {}
        self.committed: dict[int, int] = {}
        """To each partition the highest token under which a checkpoint was admitted."""

    def told(self, seat: Seat) -> None:
        """The member gets the answer to a call that it just made."""
        seat.tokens = {number: found.token for number, found in self.group.owned(seat.member).items()}
        seat.revoked = self.group.revoked(seat.member)
        seat.until = self.now + LEASE

    def owners(self) -> list[str | None]:
        return [found.owner for found in self.group.partitions]

    def watch(self, before: list[str | None], allowed: set[str]) -> None:
        """Only those who were allowed to lose a partition have lost one, and every new owner has a new token."""
        for number, (old, new) in enumerate(zip(before, self.owners(), strict=True)):
            assert old == new or old is None or old in allowed, (number, old, new)

    def expiring(self) -> set[str]:
        return {member.id for member in self.group.members.values() if member.lease_until <= self.now}

    @rule(target=seats)
    def join(self) -> Seat:
        seat = Seat(f"m{len(self.seated)}")
        self.seated[seat.member] = seat
        before, gone = self.owners(), self.expiring()
        self.group.join(seat.member, sources=(), exclusive=False, lease_seconds=LEASE, client=None, now=self.now)
        self.watch(before, gone)
        self.told(seat)
        return seat

    @rule(seat=seats, releases=st.floats(0, 1), heard=st.booleans())
    def beat(self, seat: Seat, releases: float, heard: bool) -> None:
        """It gives up some of what it was to; its answer may be lost."""
        released = seat.revoked[: round(len(seat.revoked) * releases)]
        before, gone = self.owners(), self.expiring()
        try:
            self.group.beat(seat.member, released=released, now=self.now)
        except FencedError:
            assert seat.until <= self.now or seat.member not in self.group.members
            seat.tokens, seat.revoked = {}, ()
            return
        given_up = {number for number in released if before[number] == seat.member}
        for number, (old, new) in enumerate(zip(before, self.owners(), strict=True)):
            assert old == new or old is None or old in gone or number in given_up
        # What it released it does not use any more, whether or not it hears the answer.
        seat.tokens = {number: token for number, token in seat.tokens.items() if number not in released}
        if heard:
            self.told(seat)

    @rule(seat=seats)
    def leave(self, seat: Seat) -> None:
        before, gone = self.owners(), self.expiring()
        self.group.leave(seat.member, now=self.now)
        self.watch(before, gone | {seat.member})
        seat.tokens, seat.revoked = {}, ()

    @rule(seconds=st.sampled_from([0.5, LEASE / 3, LEASE / 2, LEASE, -LEASE]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(seat=seats)
    def commit(self, seat: Seat) -> None:
        """Whoever believes to own partitions commits them: also one that hung, or whose answer was lost."""
        living = self.group.members.get(seat.member)
        alive = living is not None and living.lease_until > self.now
        held = {number: found.token for number, found in self.group.owned(seat.member).items()} if alive else {}
        try:
            admit("g", seat.member, seat.tokens, held)
        except FencedError:
            return
        for number, token in seat.tokens.items():
            assert self.group.partitions[number].owner == seat.member
            assert token >= self.committed.get(number, 0)
            self.committed[number] = token

    @invariant()
    def nobody_else_may_commit(self) -> None:
        """A token under which was committed is never above the present one, and never held by two."""
        for number, token in self.committed.items():
            assert token <= self.group.partitions[number].token

    @invariant()
    def all_is_owned_while_there_are_members(self) -> None:
        owners = set(self.owners())
        assert owners <= set(self.group.members) if self.group.members else owners == {None}

    @precondition(lambda self: self.group.members)
    @rule()
    def all_who_live_settle(self) -> None:
        """When all members release what they should, two rounds of heartbeats end balanced."""
        for _ in range(2):
            for member in list(self.group.members):
                if member in self.group.members:
                    released = self.group.revoked(member)
                    try:
                        self.group.beat(member, released=released, now=self.now)
                    except FencedError:
                        continue
        for seat in self.seated.values():
            if seat.member in self.group.members:
                self.told(seat)
        counts = [len(self.group.owned(member)) for member in self.group.members]
        if counts:
            assert sum(counts) == 256
            assert max(counts) - min(counts) <= 1
            assert not any(self.group.revoked(member) for member in self.group.members)


GroupMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_groups_machine = GroupMachine.TestCase


def living(group: Group) -> Mapping[str, int]:
    return {member: len(group.owned(member)) for member in group.members}


def joined(group: Group, member: str, now: float = 0.0, **options: object) -> None:
    defaults = {"sources": (), "exclusive": False, "lease_seconds": LEASE, "client": None}
    group.join(member, now=now, **(defaults | options))  # type: ignore[arg-type]


def test_a_partition_moves_when_it_is_released_and_not_before() -> None:
    group = Group(name="g", sources=(), exclusive=False)
    joined(group, "a")
    joined(group, "b")
    assert living(group) == {"a": 256, "b": 0}
    assert group.revoked("a") == tuple(range(128, 256))
    group.beat("a", released=range(128, 138), now=1)
    assert living(group) == {"a": 246, "b": 10}
    assert {found.token for found in group.owned("b").values()} == {2}
    assert group.revoked("a") == tuple(range(138, 256))


def test_a_released_partition_that_comes_back_has_a_new_token() -> None:
    group = Group(name="g", sources=(), exclusive=False)
    joined(group, "a")
    joined(group, "b")
    group.leave("b", now=1)
    group.beat("a", released=[200], now=1)
    assert group.owned("a")[200].token == 2
    with pytest.raises(FencedError, match="partition 200"):
        admit("g", "a", {199: 1, 200: 1}, {n: p.token for n, p in group.owned("a").items()})


def test_a_group_has_one_subscription() -> None:
    group = Group(name="g", sources=("orders",), exclusive=False)
    joined(group, "a", sources=["orders"])
    with pytest.raises(UsageError, match="stop all its members"):
        joined(group, "b", sources=["orders", "items"])
    with pytest.raises(UsageError, match="exclusively"):
        joined(group, "b", sources=["orders"], exclusive=True)
    assert list(group.members) == ["a"]


def test_sources_change_when_all_have_left_and_a_new_source_means_a_new_beginning() -> None:
    group = Group(name="g", sources=("items", "orders"), exclusive=False)
    group.partitions = [type(found)(checkpoint="{}") for found in group.partitions]
    joined(group, "a", sources=["orders"])
    assert group.partitions[7].checkpoint == "{}"
    group.leave("a", now=1)
    joined(group, "b", sources=["orders", "items"], now=1)
    assert group.sources == ("items", "orders")
    assert {found.checkpoint for found in group.partitions} == {None}


def test_a_join_that_is_repeated_is_one_member() -> None:
    group = Group(name="g", sources=(), exclusive=False)
    joined(group, "a")
    joined(group, "b", 1)
    version = group.version
    joined(group, "b", 2)
    assert (len(group.members), group.version) == (2, version)
    assert group.members["b"].lease_until == 2 + LEASE


def test_a_clock_that_is_set_back_lengthens_no_lease() -> None:
    group = Group(name="g", sources=(), exclusive=False)
    joined(group, "a", 1000)
    joined(group, "b", 0)
    assert group.members["a"].lease_until == LEASE


def test_exclusive_hands_over_to_the_eldest_that_lives() -> None:
    group = Group(name="g", sources=(), exclusive=True)
    for member, now in (("a", 0.0), ("b", 1.0), ("c", 2.0)):
        joined(group, member, now, exclusive=True)
    assert living(group) == {"a": 256, "b": 0, "c": 0}
    group.beat("c", released=(), now=LEASE)
    assert living(group) == {"b": 256, "c": 0}
