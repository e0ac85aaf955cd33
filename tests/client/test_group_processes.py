"""Members that are killed, frozen and added while events flow: nothing is lost, and each key stays in order.

Every member writes down each event before it processes it, with the time of a clock that all processes share.
"""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from differ.catalog.groups import Groups
from differ.formats.checkpoint import StreamCheckpoint
from tests.client.member import Line, Member
from tests.cycle.world import World, numbered
from tests.server.eventually import eventually
from tests.server.relay import Relay

ROWS = 50
PATIENT = 15.0
"""A lease that no member loses, however busy the machine."""


class Shop:
    """A source whose every row changes with each commit."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.version = 0
        world.fed("orders")
        self.change()

    def change(self, times: int = 1) -> None:
        for _ in range(times):
            self.version += 1
            self.world.commit("orders", numbered(*(f"{self.version}-{number}" for number in range(ROWS))))

    @property
    def head(self) -> int:
        return self.version * ROWS

    def spread(self) -> list[int]:
        """How many partitions each member has."""
        group = Groups(self.world.project.consumers).get("index")
        return sorted(len(group.owned(member)) for member in group.members) if group else []

    def all_stand_at_the_head(self) -> bool:
        entry = self.world.project.consumers.get("index")
        places = set(entry.partitions.values()) if entry else set()
        return all(isinstance(at, StreamCheckpoint) and at.cursor.scn == self.head for at in places) and bool(places)


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


@pytest.fixture
def member(relay: Relay, tmp_path: Path) -> Callable[..., Member]:
    """Starts a member; the caller enters it."""
    started: list[Member] = []

    def start(**options: object) -> Member:
        started.append(Member(relay.url, tmp_path / f"member{len(started)}.log", **options))  # type: ignore[arg-type]
        return started[-1]

    return start


def has(member: Member, count: int) -> Callable[[], bool]:
    return lambda: len(member.events) >= count


def check(shop: Shop, *members: Member) -> None:
    """Everything was processed, and whatever was processed twice: each key's changes came in their order."""
    events = sorted((line for member in members for line in member.events), key=lambda line: line.at)
    assert {line.scn for line in events} == set(range(1, shop.head + 1))
    first_seen: dict[int, list[int]] = {}
    for line in events:
        seen = first_seen.setdefault(line.key, [])
        if line.scn not in seen:
            assert not seen or seen[-1] < line.scn, f"key {line.key}: {line.scn} after {seen}"
            seen.append(line.scn)
    for member in members:
        check_own_order(member.lines)


def check_own_order(lines: list[Line]) -> None:
    """What one member is given ascends for each key, but after a rollback or another share it may begin again."""
    last: dict[int, int] = {}
    for line in lines:
        if line.what in ("rollback", "checkpoint"):
            last.clear()
        elif line.what == "event":
            assert last.get(line.key, 0) < line.scn
            last[line.key] = line.scn


@pytest.mark.crash
def test_a_killed_member_is_replaced_by_the_others(shop: Shop, member: Callable[..., Member]) -> None:
    with member() as first, member() as second, member() as third:
        eventually(lambda: shop.spread() == [85, 85, 86])
        shop.change(4)
        for one in (first, second, third):
            eventually(has(one, 5))
        first.send(signal.SIGKILL)
        first.process.wait(30)
        written = len(first.events)
        shop.change(4)
        eventually(lambda: shop.spread() == [128, 128])
        eventually(shop.all_stand_at_the_head)
        assert len(first.events) == written
        check(shop, first, second, third)
        second.end()
        third.end()


@pytest.mark.crash
def test_a_frozen_member_wakes_up_to_nothing_of_its_own(shop: Shop, member: Callable[..., Member]) -> None:
    with member() as frozen, member() as second:
        shop.change(2)
        eventually(lambda: shop.spread() == [128, 128])
        shop.change(2)
        eventually(has(frozen, 5))
        frozen.send(signal.SIGSTOP)
        shop.change(4)
        eventually(lambda: shop.spread() == [256])
        eventually(shop.all_stand_at_the_head)
        before = len(frozen.lines)
        frozen.send(signal.SIGCONT)
        # It does not go on where it was: it joins anew, and takes its half from where the other stands now.
        eventually(lambda: shop.spread() == [128, 128])
        shop.change(2)
        eventually(shop.all_stand_at_the_head)
        late = [line for line in frozen.lines[before:] if line.what == "event" and line.scn <= shop.head - 2 * ROWS]
        assert len(late) <= 1, "only what was under way when it was frozen"
        check(shop, frozen, second)
        frozen.end()
        second.end()


@pytest.mark.crash
def test_a_member_that_comes_in_mid_stream_takes_its_share(shop: Shop, member: Callable[..., Member]) -> None:
    with member(pause=0.005, lease=PATIENT) as first:
        shop.change(6)
        eventually(has(first, 20))
        with member(pause=0.005, lease=PATIENT) as second:
            eventually(lambda: shop.change() or has(second, 5)())  # However long it takes to come, there is more.
            shop.change(2)
            eventually(shop.all_stand_at_the_head)
            check(shop, first, second)
            halves = [{line.key for line in one.events if line.scn > shop.head - ROWS} for one in (first, second)]
            assert halves[0] | halves[1] == set(range(1, ROWS + 1))
            assert not halves[0] & halves[1]
            second.end()
        first.end()


@pytest.mark.crash
def test_members_that_bootstrap_share_the_rows(shop: Shop, member: Callable[..., Member]) -> None:
    with (
        member(start="bootstrap", lease=PATIENT) as first,
        member(start="bootstrap", lease=PATIENT) as second,
    ):
        eventually(shop.all_stand_at_the_head)
        rows = {line.key for one in (first, second) for line in one.lines if line.what == "row"}
        assert rows == set(range(1, ROWS + 1))
        eventually(lambda: shop.spread() == [128, 128])
        shop.change()
        eventually(shop.all_stand_at_the_head)
        events = sorted(line.key for one in (first, second) for line in one.events)
        assert events == list(range(1, ROWS + 1))
        first.end()
        second.end()
