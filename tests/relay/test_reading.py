"""Reading events back: any range, any sources, any key, in SCN order and each exactly once."""

import pytest

from differ.errors import UsageError
from differ.relay import reader as reader_module
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered

__all__ = ["world"]


def fill(world: World) -> list[tuple[int, str, str, int]]:
    """Windows of two sources and a group; returns (scn, source, op, key) of all events as committed."""
    world.fed("a", numbered("x", "y", "z"))
    world.fed("b", numbered("x", "y"))
    world.sql("CREATE TABLE c (id INTEGER PRIMARY KEY); CREATE TABLE d (id INTEGER PRIMARY KEY)")
    world.table("c")
    world.table("d")
    world.settings["consistency_groups"] = {"cd": {"sources": ["c", "d"]}}
    world.commit("a")
    world.commit("b")
    world.sql("INSERT INTO c VALUES (1), (2); INSERT INTO d VALUES (1)")
    world.project.scan_group("cd")
    world.commit("a", [{"id": 1, "v": "X"}, {"id": 2, "v": "y"}, {"id": 9, "v": "n"}])
    world.sql("DELETE FROM c; INSERT INTO d VALUES (5)")
    world.project.scan_group("cd")
    expected = [
        *(("a", "insert", key) for key in (1, 2, 3)),
        *(("b", "insert", key) for key in (1, 2)),
        *(("c", "insert", key) for key in (1, 2)),
        ("d", "insert", 1),
        ("a", "delete", 3),
        ("a", "update", 1),
        ("a", "insert", 9),
        *(("c", "delete", key) for key in (1, 2)),
        ("d", "insert", 5),
    ]
    return [(scn, *event) for scn, event in enumerate(expected, 1)]


@pytest.mark.parametrize("page", [1, 2, 256])
@pytest.mark.parametrize("sources", [None, ["a"], ["d", "b"]])
def test_any_range_of_any_sources_is_read_in_order_and_once(
    world: World, page: int, sources: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "PAGE_SEGMENTS", page)
    known = fill(world)
    for since in range(len(known) + 1):
        for until in (None, since, since + 1, since + 4):
            found = [
                (event.scn, event.source, event.op, event.key["id"])
                for event in world.project.events(sources, since=since, until=until)
            ]
            last = len(known) if until is None else until
            assert found == [e for e in known if since < e[0] <= last and e[1] in (sources or "abcd")], (since, until)


def test_the_history_of_one_key(world: World) -> None:
    fill(world)
    assert [(event.scn, event.op) for event in world.project.events("a", key="1")] == [(1, "insert"), (10, "update")]
    assert [(event.scn, event.op) for event in world.project.events("a", key="3", since=1)] == [
        (3, "insert"),
        (9, "delete"),
    ]
    with pytest.raises(UsageError, match="of which source"):
        list(world.project.events(key="1"))


def test_net_changes_between_two_scns(world: World) -> None:
    fill(world)
    net = {change["key"]["id"]: change["op"] for change in world.project.net_changes("a", 3, 11)}
    assert net == {1: "update", 3: "delete", 9: "insert"}
    assert list(world.project.net_changes("c", 0, 14)) == []


def test_ranges_that_make_no_sense_are_refused(world: World) -> None:
    fill(world)
    for since, until in ((-1, None), (5, 4), (15, None)):
        with pytest.raises(UsageError):
            list(world.project.events(since=since, until=until))
    with pytest.raises(UsageError, match="'a'"):
        list(world.project.events("aa"))
