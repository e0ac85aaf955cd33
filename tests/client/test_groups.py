"""Members of a consumer group in threads: who gets what, hand-overs, standing by, and what is refused."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from differ.client import Client, Next, Pace, Retries
from differ.client.membership import Membership
from differ.client.transport import Transport
from differ.errors import ConsumerError, FencedError, UsageError
from differ.formats.checkpoint import Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.model import ChangeEvent
from tests.client.recorder import Recorder
from tests.cycle.world import World, numbered
from tests.road.proxy import Proxy
from tests.server.eventually import eventually
from tests.server.relay import Relay

OFTEN = Pace(checkpoint_seconds=0.05, idle_seconds=0.1)
ROWS = 60


class Runner:
    """A member in a thread of its own."""

    def __init__(self, url: str, consumer: Recorder, options: dict[str, Any]) -> None:
        self.consumer, self.stop = consumer, threading.Event()
        self.error: BaseException | None = None
        given = {"name": "index", "group": True, "start": "oldest", "lease_seconds": 2.0, "pace": OFTEN} | options
        self._thread = threading.Thread(target=self._run, args=(url, given))
        self._thread.start()

    def _run(self, url: str, options: dict[str, Any]) -> None:
        try:
            Client(url).run(self.consumer, stop=self.stop, **options)
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def running(relay: Relay | str, *consumers: Recorder, **options: Any) -> Iterator[list[Runner]]:
    url = relay if isinstance(relay, str) else relay.url
    runners = [Runner(url, consumer, options) for consumer in consumers]
    try:
        yield runners
    finally:
        for runner in runners:
            runner.end()
    for runner in runners:
        assert runner.error is None, runner.error


@pytest.fixture
def shop(world: World) -> World:
    """One source of ROWS rows."""
    world.fed("orders")
    world.commit("orders", rows(0))
    return world


def rows(version: int) -> list[dict[str, Any]]:
    return numbered(*(f"{version}-{number}" for number in range(ROWS)))


def seen(*consumers: Recorder) -> set[int]:
    return {scn for consumer in consumers for scn in consumer.scns}


def through(shop: World, *consumers: Recorder) -> Callable[[], bool]:
    """Whether the consumers together have seen everything."""
    return lambda: seen(*consumers) == set(range(1, shop.project.catalog.stream().head_scn + 1))


def keys(consumer: Recorder, since: int = 0) -> set[int]:
    return {event.key["id"] for event in consumer.events if event.scn > since}


def standing(shop: World) -> int | None:
    entry = shop.project.consumers.get("index")
    return None if entry is None else entry.scn


def test_a_member_alone_reads_everything_and_the_next_goes_on(shop: World, relay: Relay) -> None:
    first, second = Recorder(), Recorder()
    Client(relay.url).run(first, name="index", group=True, start="oldest", until_head=True)
    assert first.scns == list(range(1, ROWS + 1))
    assert standing(shop) == ROWS
    shop.commit("orders", rows(1))
    Client(relay.url).run(second, name="index", group=True, start="oldest", until_head=True)
    assert second.scns == list(range(ROWS + 1, 2 * ROWS + 1))


def test_members_share_the_keys_and_hand_over_when_one_comes_or_goes(shop: World, relay: Relay) -> None:
    first, second, third = Recorder(), Recorder(), Recorder()
    with running(relay, first) as (one,):
        eventually(through(shop, first))
        with running(relay, second, third):
            eventually(lambda: spread(shop) == [85, 85, 86])
            head = shop.project.catalog.stream().head_scn
            shop.commit("orders", rows(1))
            eventually(through(shop, first, second, third))
            shares = [keys(member, head) for member in (first, second, third)]
            assert all(shares)
            assert sum(map(len, shares)) == ROWS
            one.end()
            eventually(lambda: spread(shop) == [128, 128])
            head = shop.project.catalog.stream().head_scn
            shop.commit("orders", rows(2))
            eventually(through(shop, first, second, third))
            assert keys(first, head) == set()
    # Everybody left with a checkpoint: whoever comes next has nothing to do again.
    late = Recorder()
    Client(relay.url).run(late, name="index", group=True, start="oldest", until_head=True)
    assert late.scns == []
    assert standing(shop) == 3 * ROWS


def spread(shop: World) -> list[int]:
    """How many partitions each member has."""
    from differ.catalog.groups import Groups

    group = Groups(shop.project.consumers).get("index")
    return sorted(len(group.owned(member)) for member in group.members) if group else []


def test_an_exclusive_group_stands_by(shop: World, relay: Relay) -> None:
    eldest, standby = Recorder(), Recorder()
    with running(relay, eldest, group="exclusive") as (one,):
        eventually(through(shop, eldest))
        with running(relay, standby, group="exclusive"):
            eventually(lambda: spread(shop) == [0, 256])
            shop.commit("orders", rows(1))
            eventually(through(shop, eldest))
            assert standby.scns == []
            one.end()
            shop.commit("orders", rows(2))
            eventually(through(shop, eldest, standby))
            assert standby.scns == list(range(2 * ROWS + 1, 3 * ROWS + 1))


def test_a_member_with_other_sources_is_refused(shop: World, relay: Relay) -> None:
    first = Recorder()
    with running(relay, first, sources=["orders"]):
        eventually(through(shop, first))
        with pytest.raises(UsageError, match="follow orders") as caught:
            Client(relay.url).run(Recorder(), name="index", group=True)
        assert "stop all its members first" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "shared"}, "group='shared'"),
        ({"group": True, "partition": "0/2"}, "partition="),
        ({"group": True, "checkpoints": "file.json"}, "checkpoints="),
        ({"group": "exclusive", "checkpoints": "file.json"}, "checkpoints="),
        ({"group": True, "lease_seconds": 0.01}, "lease_seconds"),
    ],
)
def test_options_that_make_no_sense(shop: World, relay: Relay, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Client(relay.url).run(Recorder(), name="index", **options)
    assert said in str(caught.value)


def test_a_failing_callback_is_replayed_in_a_group_as_well(shop: World, relay: Relay) -> None:
    failures = [0]

    def act(event: ChangeEvent) -> Next | None:
        if event.scn == 7 and not failures[0]:
            failures[0] += 1
            raise ValueError("once")
        return Next.CHECKPOINT if event.scn == 5 else None

    consumer = Recorder(act)
    Client(relay.url).run(consumer, name="index", group=True, start="oldest", until_head=True, pace=OFTEN)
    assert consumer.scns[:9] == [1, 2, 3, 4, 5, 6, 7, 6, 7]
    assert seen(consumer) == set(range(1, ROWS + 1))


def test_a_callback_that_hangs_gives_its_share_up_where_it_has_a_limit(shop: World, relay: Relay) -> None:
    began, end = threading.Event(), threading.Event()

    def hang(_: object) -> Next | None:
        began.set()
        return Next.SKIP if end.wait(60) else None

    hung, other = Recorder(hang), Recorder()
    stuck = Runner(relay.url, hung, {"retries": Retries(attempts=1, callback_seconds=0.2), "lease_seconds": 30.0})
    assert began.wait(30)
    with running(relay, other, lease_seconds=30.0):
        eventually(through(shop, other))
        eventually(lambda: isinstance(stuck.error, ConsumerError))
    end.set()
    stuck.end()


def test_a_checkpoint_from_beyond_the_lease_is_refused_by_the_relay(shop: World, relay: Relay) -> None:
    """A member whose own clock stands still believes in its lease for ever: the tokens do not."""
    transport = Transport(relay.url)
    frozen = Membership(transport, "index", lease_seconds=1.0, clock=lambda: 0.0)
    mine = frozen.join()
    frozen.close()
    assert len(mine.tokens) == 256
    cursor = Cursor.parse(relay.stream(since=0, limit=1).cursor)
    frozen.save(dict.fromkeys(mine.tokens, StreamCheckpoint(cursor=cursor)))
    other = Membership(transport, "index", lease_seconds=1.0)
    other.join()
    try:
        eventually(lambda: len(other.share.tokens) == 256)
        assert set(other.share.checkpoints.values()) == {StreamCheckpoint(cursor=cursor)}
        assert not frozen.lost
        with pytest.raises(FencedError):
            frozen.save(dict.fromkeys(mine.tokens, StreamCheckpoint(cursor=cursor)))
        assert frozen.lost
    finally:
        other.leave()
        transport.close()


def test_a_member_that_cannot_reach_the_relay_stops_before_its_lease_ends(shop: World, relay: Relay) -> None:
    now = [0.0]
    seat = Membership(Transport(relay.url), "index", lease_seconds=10.0, clock=lambda: now[0])
    seat.join()
    seat.close()
    now[0] = 8.9
    assert not seat.lost
    now[0] = 9.0
    assert seat.lost
    with pytest.raises(FencedError, match="did not answer within the lease of 10 s"):
        seat.check()


class Wire(Proxy):
    """A wire that can be cut for as long as a test likes."""

    up = True

    def passes(self, data: bytes) -> bool:
        return self.up

    def stay_cut(self) -> None:
        self.up = False
        self.cut()


def test_a_member_that_lost_the_relay_joins_anew_and_loses_nothing(shop: World, relay: Relay) -> None:
    lonely, other = Recorder(), Recorder()
    with Wire(relay.address[1]) as wire, running(f"http://127.0.0.1:{wire.port}", lonely, lease_seconds=1.0):
        eventually(through(shop, lonely))
        with running(relay, other, lease_seconds=1.0):
            eventually(lambda: spread(shop) == [128, 128])
            wire.stay_cut()
            eventually(lambda: spread(shop) == [256])
            # The one that is cut off got nothing of what came since, and says so to its consumer.
            before = list(lonely.scns)
            shop.commit("orders", rows(1))
            eventually(lambda: seen(other) >= set(range(ROWS + 1, 2 * ROWS + 1)))
            assert lonely.scns == before
            wire.up = True
            eventually(lambda: spread(shop) == [128, 128])
            head = shop.project.catalog.stream().head_scn
            shop.commit("orders", rows(2))
            eventually(lambda: seen(other, lonely) >= set(range(1, 3 * ROWS + 1)))
            assert keys(lonely, head)
            assert not keys(lonely, head) & keys(other, head)


class Kept:
    """A checkpoint in the destination, as a sink keeps it."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint | None = None
        self.loads = 0

    def load(self) -> Checkpoint | None:
        self.loads += 1
        return self.checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint


def test_an_exclusive_member_believes_its_destination(shop: World, relay: Relay) -> None:
    kept = Kept()
    first, second = Recorder(), Recorder()
    options: dict[str, Any] = {"name": "index", "group": "exclusive", "checkpoints": kept, "until_head": True}
    Client(relay.url).run(first, start="oldest", **options)
    assert first.scns == list(range(1, ROWS + 1))
    # The destination was restored to an earlier state: the relay is told, and everything after it comes again.
    kept.checkpoint = StreamCheckpoint(cursor=Cursor.parse(relay.stream(since=10, limit=0).cursor))
    Client(relay.url).run(second, **options)
    assert second.scns == list(range(11, ROWS + 1))
    assert standing(shop) == ROWS


def test_the_relay_keeps_what_the_destination_does_not_have(shop: World, relay: Relay) -> None:
    kept = Kept()
    kept.checkpoint = StreamCheckpoint(cursor=Cursor.parse(relay.stream(since=10, limit=0).cursor))
    with running(relay, Recorder(lambda _: Next.RETRY), group="exclusive", checkpoints=kept):
        eventually(lambda: standing(shop) == 10)


def test_a_standing_by_member_never_opens_the_destination(shop: World, relay: Relay) -> None:
    kept, idle = Kept(), Kept()
    first, standby = Recorder(), Recorder()
    with running(relay, first, group="exclusive", checkpoints=kept) as (one,):
        eventually(through(shop, first))
        with running(relay, standby, group="exclusive", checkpoints=idle):
            eventually(lambda: spread(shop) == [0, 256])
            assert idle.loads == 0
            one.end()
            eventually(lambda: idle.loads == 1)
