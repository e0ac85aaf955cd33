"""Cursors and SCNs that reading cannot go on from: each is told apart, and nothing is skipped in silence."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from differ.formats.cursor import Cursor
from differ.formats.events import change_events
from tests.cycle.world import World, numbered
from tests.server.eventually import eventually
from tests.server.relay import Relay


def three_windows(world: World) -> None:
    """Windows 1..2, 3..3 and 4..6 of source a."""
    world.fed("a", numbered("x", "y"))
    world.commit("a")
    world.commit("a", numbered("x", "Y"))
    world.commit("a", numbered("p", "q", "r"))


def test_every_cursor_is_good_until_something_happens_to_the_stream(world: World, relay: Relay) -> None:
    three_windows(world)
    head = world.project.catalog.stream().head_scn
    cursors = [relay.stream(limit=limit).cursor for limit in range(1, head + 1)]
    world.commit("a", numbered("p", "q", "r", "s"))
    assert [relay.stream(cursor=cursor).scns[0] for cursor in cursors] == list(range(2, head + 2))


def test_past_the_head(world: World, relay: Relay) -> None:
    three_windows(world)
    head = world.project.catalog.stream().head_scn
    reply = relay.stream(since=head + 1)
    assert (reply.status, reply.error["code"], reply.error["head"]) == (409, "SCN_AHEAD", head)
    ahead = Cursor.parse(relay.stream().cursor).at(head + 9)
    assert relay.stream(cursor=ahead.text).error["code"] == "SCN_AHEAD"


def test_another_stream(world: World, relay: Relay) -> None:
    three_windows(world)
    cursor = Cursor.parse(relay.stream(limit=1).cursor)
    other = "00000000" + cursor.stream[8:]
    for scn in (0, 1, 99):
        reply = relay.stream(cursor=cursor.text.replace(cursor.stream, other).replace(".1.", f".{scn}."))
        assert (reply.status, reply.error["code"]) == (409, "STREAM_CHANGED")


def test_a_restored_backup_that_went_on_is_another_history(
    world: World, serve: Callable[..., Relay], tmp_path: Path
) -> None:
    three_windows(world)
    backup = tmp_path / "backup"
    shutil.copytree(world.folder / ".differ", backup)
    shutil.copytree(world.folder / "snapshots", tmp_path / "snapshots")
    relay = serve()
    old = relay.stream().cursor
    world.commit("a", numbered("p", "q", "r", "lost"))
    lost = relay.stream().cursor
    inside = relay.stream(limit=5).cursor
    relay.stop()
    world.close()
    for folder, saved in ((".differ", backup), ("snapshots", tmp_path / "snapshots")):
        shutil.rmtree(world.folder / folder)
        shutil.copytree(saved, world.folder / folder)
    relay = serve()
    assert relay.stream(cursor=lost).error["code"] == "SCN_AHEAD"
    world.commit("a", numbered("p", "q", "r", "other", "rows"))
    assert relay.stream(cursor=lost).error["code"] == "STREAM_CHANGED"
    assert [e["after"]["v"] for e in relay.stream(cursor=old).lines] == ["other", "rows"], "what both share is good"
    assert relay.stream(cursor=inside).status == 200


def test_a_restored_backup_without_a_new_base_is_another_history(
    world: World, serve: Callable[..., Relay], tmp_path: Path
) -> None:
    """A new base moves neither SCN nor chain, and was bootstrapped from: its rows are not those of the backup."""
    three_windows(world)
    shutil.copytree(world.folder / ".differ", tmp_path / "backup")
    shutil.copytree(world.folder / "snapshots", tmp_path / "snapshots")
    world.give("a", numbered("p", "q", "r", "lost"))
    world.project.rebaseline("a")
    relay = serve()
    lost = relay.stream(since=6).cursor
    assert relay.stream(cursor=lost).status == 200
    relay.stop()
    world.close()
    for folder, saved in ((".differ", tmp_path / "backup"), ("snapshots", tmp_path / "snapshots")):
        shutil.rmtree(world.folder / folder)
        shutil.copytree(saved, world.folder / folder)
    relay = serve()
    assert relay.stream(cursor=lost).error["code"] == "STREAM_CHANGED"
    world.give("a", numbered("p", "q", "r", "other"))
    world.project.rebaseline("a")
    assert relay.stream(cursor=lost).error["code"] == "SCN_TOO_OLD", "as many new bases as before, and another one"
    assert relay.stream(since=6).status == 200


def test_a_catalog_replaced_under_a_running_relay_is_noticed(world: World, relay: Relay) -> None:
    three_windows(world)
    catalog = world.folder / ".differ" / "catalog.db"
    assert relay.get("/readyz").status == 200
    shutil.copy(catalog, catalog.with_name("copy"))
    catalog.with_name("copy").rename(catalog)
    eventually(lambda: relay.get("/readyz").status == 503)
    reply = relay.stream()
    assert (reply.status, reply.error["code"]) == (503, "UNAVAILABLE")
    assert "another file" in reply.error["message"]
    assert relay.get("/healthz").status == 200


def test_what_retention_let_go(world: World, relay: Relay) -> None:
    three_windows(world)
    cursors = {scn: relay.stream(limit=scn).cursor for scn in range(1, 7)}
    fresh = relay.stream(source="a", since=6).cursor
    world.project.catalog.let_windows_go(3)
    for start in ({"since": 0}, {"since": 2}, {"cursor": cursors[1]}, {"cursor": cursors[2]}):
        reply = relay.stream(**start)
        assert (reply.status, reply.error["code"], reply.error["oldest"]) == (410, "SCN_TOO_OLD", 4)
    assert relay.stream(cursor=cursors[3]).scns == [4, 5, 6], "the end of what was let go still has its chain"
    assert relay.stream(since=3).scns == [4, 5, 6]
    forged = Cursor.parse(cursors[3])
    assert relay.stream(cursor=forged.text.replace(forged.chain, "f" * 32)).error["code"] == "STREAM_CHANGED"
    world.project.catalog.let_windows_go(6)
    assert relay.stream(since=5).error["oldest"] == 7
    assert relay.stream(cursor=fresh).status == 200
    world.commit("a", numbered("new", "q", "r"))
    assert relay.stream(cursor=fresh).scns == [7]


def test_a_floor_stops_who_follows_its_source_and_nobody_else(world: World, relay: Relay) -> None:
    three_windows(world)
    world.fed("b", numbered("x"))
    world.commit("b")
    at_head = relay.stream().cursor
    world.project.rebaseline("a")
    for parameters in ({}, {"source": "a"}, {"source": "b,a"}):
        reply = relay.stream(cursor=at_head, **parameters)
        assert (reply.status, reply.error["code"], reply.error["source"]) == (410, "SCN_TOO_OLD", "a")
    assert relay.stream(cursor=at_head, source="b").status == 200
    assert relay.stream(since=3, source="b").scns == [7]
    assert relay.stream(since=6, source="a").error["source"] == "a", "the floor is at the head it was raised at"
    assert relay.stream(since=7, source="a").status == 200
    world.commit("a", numbered("after"))
    assert relay.stream(since=7, source="a").lines


def test_a_snapshot_only_baseline_is_a_floor(world: World, serve: Callable[..., Relay]) -> None:
    world.fed("b", numbered("x"))
    world.commit("b")
    world.fed("a", numbered("x", "y"), baseline="snapshot-only")
    relay = serve()
    before = relay.stream(source="a").cursor
    world.commit("a")
    assert relay.stream(cursor=before, source="a").error["source"] == "a"
    assert relay.stream(since=0, source="a").error["source"] == "a"
    assert relay.stream(since=0, source="b").scns == [1]


def test_the_order_of_the_checks(world: World, relay: Relay) -> None:
    three_windows(world)
    world.project.catalog.let_windows_go(2)
    cursor = Cursor.parse(relay.stream(since=2, limit=1).cursor)
    chainless = cursor.text.replace(cursor.chain, "0" * 32)
    foreign = chainless.replace(cursor.stream[:8], "00000000")
    assert relay.stream(cursor=foreign.replace(".3.", ".99.")).error["code"] == "STREAM_CHANGED"
    assert relay.stream(cursor=chainless.replace(".3.", ".99.")).error["code"] == "SCN_AHEAD"
    assert relay.stream(cursor=chainless.replace(".3.", ".1.")).error["code"] == "SCN_TOO_OLD"
    assert relay.stream(cursor=chainless).error["code"] == "STREAM_CHANGED"
    assert relay.stream(cursor=cursor.text).status == 200


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_cursors_go_on_inside_windows(world: World, relay: Relay, limit: int) -> None:
    three_windows(world)
    cursor, found = None, []
    while True:
        reply = relay.stream(cursor=cursor, limit=limit, format="frames")
        found += [event.scn for frame in reply.frames for event in change_events(frame.batch)]
        cursor = reply.cursor
        if not reply.has_more:
            break
    assert found == list(range(1, 7))
