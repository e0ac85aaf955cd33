"""Consumer groups as the relay keeps them: durable, the same for every process, and fenced."""

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differ.catalog.consumers import Consumers
from differ.catalog.group import Group
from differ.catalog.groups import Groups, Share
from differ.errors import FencedError, UsageError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor

STREAM = "6f0c0000-0000-0000-0000-000000000000"
LEASE = 10.0


def at(scn: int) -> StreamCheckpoint:
    return StreamCheckpoint(cursor=Cursor(stream=STREAM, scn=scn, chain="0" * 32, floors=0))


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    file = f"sqlite:///{tmp_path / 'consumers.db'}"
    return file if request.param == "sqlite" else str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def consumers(url: str) -> Iterator[Consumers]:
    opened = Consumers(url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def groups(consumers: Consumers, clock: Clock) -> Groups:
    return Groups(consumers, clock=clock)


def joined(groups: Groups, **more: object) -> Share:
    return groups.join("index", lease_seconds=LEASE, **more)  # type: ignore[arg-type]


def whole(share: Share, checkpoint: Checkpoint) -> dict[int, Checkpoint]:
    return dict.fromkeys(share.partitions, checkpoint)


def test_a_member_alone_has_everything_and_its_checkpoints_stay(groups: Groups, consumers: Consumers) -> None:
    share = joined(groups, sources=["orders", "items"])
    assert dict(share.partitions) == dict.fromkeys(range(256), 1)
    assert (share.checkpoints, share.revoked) == ({}, ())
    groups.save("index", share.member, share.partitions, whole(share, at(7)) | {3: at(9)})
    again = groups.heartbeat("index", share.member)
    assert again.checkpoints == whole(share, at(7)) | {3: at(9)}
    assert groups.heartbeat("index", share.member, version=again.version).checkpoints == {}
    entry = consumers.get("index")
    assert entry is not None
    assert (entry.sources, entry.scn, entry.state) == (("items", "orders"), 7, "streaming")


def test_a_checkpoint_of_a_bootstrap_is_kept_too(groups: Groups) -> None:
    share = joined(groups)
    middle = BootstrapCheckpoint(
        bootstrap="b", generation="g", cursor=at(5).cursor, source="orders", page="p", done=("items",)
    )
    groups.save("index", share.member, share.partitions, {1: middle})
    assert groups.heartbeat("index", share.member).checkpoints == {1: middle}


def test_what_is_released_starts_at_its_checkpoint_for_the_next_owner(groups: Groups) -> None:
    first = joined(groups)
    groups.save("index", first.member, first.partitions, whole(first, at(5)))
    second = joined(groups)
    assert second.partitions == {}
    told = groups.heartbeat("index", first.member)
    assert len(told.revoked) == 128
    groups.heartbeat("index", first.member, released=told.revoked)
    share = groups.heartbeat("index", second.member, version=second.version)
    assert dict(share.partitions) == dict.fromkeys(told.revoked, 2)
    assert share.checkpoints == dict.fromkeys(told.revoked, at(5))
    with pytest.raises(FencedError, match=f"partition {told.revoked[0]}"):
        groups.save("index", first.member, first.partitions, whole(first, at(6)))
    # All or none: what it still owns did not move either.
    assert set(groups.heartbeat("index", first.member).checkpoints.values()) == {at(5)}


def test_a_member_that_hangs_past_its_lease_is_fenced(groups: Groups, clock: Clock) -> None:
    hung = joined(groups)
    other = joined(groups)
    clock.now += LEASE / 2
    groups.heartbeat("index", other.member)
    clock.now += LEASE / 2
    with pytest.raises(FencedError):
        groups.save("index", hung.member, hung.partitions, whole(hung, at(8)))
    taken = groups.heartbeat("index", other.member)
    assert len(taken.partitions) == 256
    groups.save("index", other.member, taken.partitions, whole(taken, at(3)))
    for call in (
        lambda: groups.save("index", hung.member, hung.partitions, whole(hung, at(8))),
        lambda: groups.heartbeat("index", hung.member),
        lambda: groups.save("index", other.member, hung.partitions, whole(hung, at(8))),
    ):
        with pytest.raises(FencedError) as caught:
            call()
        assert "join again" in str(caught.value)
    assert set(groups.heartbeat("index", other.member).checkpoints.values()) == {at(3)}
    assert groups.leave("index", hung.member) is False


def test_leaving_frees_everything_at_once(groups: Groups) -> None:
    first, second = joined(groups), joined(groups)
    assert groups.leave("index", first.member) is True
    assert groups.leave("index", first.member) is False
    assert len(groups.heartbeat("index", second.member).partitions) == 256
    assert groups.leave("another", second.member) is False


def test_an_exclusive_group_hands_over_with_its_checkpoints(groups: Groups, clock: Clock) -> None:
    eldest = joined(groups, exclusive=True)
    standby = joined(groups, exclusive=True)
    assert (len(eldest.partitions), len(standby.partitions)) == (256, 0)
    groups.save("index", eldest.member, eldest.partitions, whole(eldest, at(4)))
    clock.now += LEASE - 1
    groups.heartbeat("index", standby.member)
    clock.now += 1
    taken = groups.heartbeat("index", standby.member)
    assert taken.checkpoints == dict.fromkeys(range(256), at(4))


def test_a_group_begins_where_the_consumer_of_its_name_stands(groups: Groups, consumers: Consumers) -> None:
    consumers.put("index", checkpoint=at(12), sources=["orders"])
    with pytest.raises(UsageError, match="follows orders"):
        joined(groups, sources=["items"])
    share = joined(groups, sources=["orders"])
    assert share.checkpoints == dict.fromkeys(range(256), at(12))
    with pytest.raises(UsageError, match="consumer group"):
        consumers.put("index", checkpoint=at(13))
    assert [entry.name for entry in consumers.all()] == ["index"]


def test_a_group_that_is_reset_bootstraps_and_its_members_join_anew(groups: Groups, consumers: Consumers) -> None:
    share = joined(groups)
    groups.save("index", share.member, share.partitions, whole(share, at(4)))
    assert consumers.reset("index") is True
    with pytest.raises(FencedError):
        groups.save("index", share.member, share.partitions, whole(share, at(5)))
    assert joined(groups).checkpoints == {}


def test_a_group_that_is_removed_fences_its_members(groups: Groups, consumers: Consumers) -> None:
    share = joined(groups)
    assert consumers.remove("index") is True
    assert consumers.get("index") is None
    with pytest.raises(FencedError):
        groups.heartbeat("index", share.member)
    with pytest.raises(FencedError):
        groups.save("index", share.member, share.partitions, whole(share, at(5)))


def test_what_makes_no_sense_is_refused(groups: Groups) -> None:
    share = joined(groups)
    with pytest.raises(UsageError, match=r"lease of 0\.5 seconds"):
        groups.join("index", lease_seconds=0.5)
    with pytest.raises(UsageError, match="partition 256"):
        groups.heartbeat("index", share.member, released=[256])
    with pytest.raises(UsageError, match="partition 7 comes without its token"):
        groups.save("index", share.member, {1: 1}, {7: at(1)})
    with pytest.raises(UsageError, match="control character"):
        groups.join("in\ndex")


def test_two_relays_of_one_database_decide_as_one(url: str, groups: Groups, clock: Clock) -> None:
    assert joined(groups, member="m0").partitions
    other = Consumers(url)
    try:
        relays = [groups, Groups(other, clock=clock)]
        threads = [
            threading.Thread(target=lambda number=number: joined(relays[number % 2], member=f"m{number}"))
            for number in range(1, 8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        told = groups.heartbeat("index", "m0")
        assert len(told.revoked) == 224
        relays[1].heartbeat("index", "m0", released=told.revoked)
        shares = [relays[number % 2].heartbeat("index", f"m{number}") for number in range(8)]
    finally:
        other.close()
    assert [len(share.partitions) for share in shares] == [32] * 8
    assert sorted(number for share in shares for number in share.partitions) == list(range(256))


CALLS = st.lists(
    st.tuples(st.sampled_from(["join", "beat", "release", "leave", "save", "time"]), st.integers(0, 3)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
def test_what_is_stored_is_what_the_group_became(tmp_path: Path, calls: list[tuple[str, int]]) -> None:
    """The same calls on the store, and on a group in memory: row by row the same after each of them."""
    clock = Clock()
    consumers = Consumers(f"sqlite:///{tmp_path / str(uuid.uuid4())}.db")
    groups, model = Groups(consumers, clock=clock), Group(name="index", sources=(), exclusive=False)
    joined(groups, member="m0")
    told(model, "join", "m0", clock.now)
    try:
        for call, number in calls:
            member = f"m{number}"
            if call == "time":
                clock.now += LEASE / 2
                continue
            assert asked(groups, call, member) == told(model, call, member, clock.now)
            assert groups.get("index") == model
    finally:
        consumers.close()


def asked(groups: Groups, call: str, member: str) -> str:
    try:
        match call:
            case "join":
                joined(groups, member=member)
            case "beat":
                groups.heartbeat("index", member)
            case "release":
                groups.heartbeat("index", member, released=groups.heartbeat("index", member).revoked)
            case "leave":
                groups.leave("index", member)
            case "save":
                share = groups.heartbeat("index", member)
                groups.save("index", member, share.partitions, whole(share, at(1)))
    except FencedError:
        return "fenced"
    return "done"


def told(model: Group, call: str, member: str, now: float) -> str:
    """What the call makes of the group; a call that is refused changes nothing."""
    before = model.copy()
    try:
        match call:
            case "join":
                model.join(member, sources=(), exclusive=False, lease_seconds=LEASE, client=None, now=now)
            case "beat":
                model.beat(member, released=(), now=now)
            case "release":
                model.beat(member, released=(), now=now)
                model.beat(member, released=model.revoked(member), now=now)
            case "leave":
                model.leave(member, now=now)
            case "save":
                model.beat(member, released=(), now=now)
                text = json.dumps(at(1).to_json())
                for number, found in model.owned(member).items():
                    model.partitions[number] = replace(found, checkpoint=text)
    except FencedError:
        for name in ("version", "joins", "members", "partitions"):
            setattr(model, name, getattr(before, name))
        return "fenced"
    return "done"
