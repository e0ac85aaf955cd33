"""Checkpoints kept on the relay: registered, moved, shown with their lag, forgotten; wrong ones refused."""

from collections.abc import Callable
from urllib.parse import quote

import pytest

from differ.formats.cursor import Cursor
from tests.cycle.world import World, numbered
from tests.server.relay import Relay


@pytest.fixture
def filled(world: World, serve: Callable[..., Relay]) -> Relay:
    for source in ("a", "b"):
        world.fed(source, numbered("x", "y", "z"))
        world.commit(source)
    return serve()


def test_the_life_of_a_consumer(world: World, filled: Relay) -> None:
    assert filled.get("/v1/consumers").json == {"consumers": []}
    new = filled.call("PUT", "/v1/consumers/index", {"sources": ["b"], "client": "host 7"}).json
    assert (new["name"], new["sources"], new["state"], new["scn"]) == ("index", ["b"], "new", None)
    cursor = filled.stream(source="b", limit=1).cursor
    checkpoint = {"kind": "stream", "cursor": cursor}
    moved = filled.call("PUT", "/v1/consumers/index", {"checkpoint": checkpoint}).json
    assert (moved["sources"], moved["client"], moved["checkpoint"]) == (["b"], "host 7", checkpoint)
    found = filled.get("/v1/consumers/index").json
    assert (found["state"], found["scn"], found["behind"]["events"]) == ("streaming", 4, 2)
    assert found["behind"]["seconds"] > 0
    (listed,) = filled.get("/v1/consumers").json["consumers"]
    assert (listed["name"], listed["checkpoint"], listed["behind"]["events"]) == ("index", checkpoint, 2)
    filled.call("PUT", "/v1/consumers/index", {"checkpoint": {"kind": "stream", "cursor": filled.stream().cursor}})
    assert filled.get("/v1/consumers/index").json["behind"] == {"events": 0, "seconds": 0.0}
    assert filled.call("DELETE", "/v1/consumers/index").status == 204
    assert filled.call("DELETE", "/v1/consumers/index").status == 404
    assert filled.get("/v1/consumers/index").status == 404


def test_a_checkpoint_of_a_bootstrap_is_kept_as_it_is(filled: Relay) -> None:
    checkpoint = {
        "kind": "bootstrap",
        "bootstrap": "id",
        "generation": "g",
        "cursor": filled.stream().cursor,
        "source": "a",
        "page": "p",
        "done": ["b"],
    }
    assert filled.call("PUT", "/v1/consumers/index", {"checkpoint": checkpoint}).status == 200
    found = filled.get("/v1/consumers/index").json
    assert (found["checkpoint"], found["state"], found["scn"]) == (checkpoint, "bootstrapping", 6)


def test_checkpoints_that_cannot_be_are_refused(filled: Relay) -> None:
    cursor = Cursor.parse(filled.stream().cursor)
    for text, code in ((cursor.at(7).text, "SCN_AHEAD"), ("0" * 8 + cursor.text[8:], "STREAM_CHANGED")):
        reply = filled.call("PUT", "/v1/consumers/index", {"checkpoint": {"kind": "stream", "cursor": text}})
        assert (reply.status, reply.error["code"]) == (409, code)
    assert filled.get("/v1/consumers/index").status == 404, "what is refused registers nobody"


def test_what_is_stored_outlives_the_relay(world: World, filled: Relay) -> None:
    cursor = filled.stream().cursor
    filled.call("PUT", "/v1/consumers/index", {"checkpoint": {"kind": "stream", "cursor": cursor}})
    filled.stop()
    other = Relay(world.project).start()
    try:
        assert other.get("/v1/consumers/index").json["checkpoint"]["cursor"] == cursor
    finally:
        other.stop()


@pytest.mark.parametrize("name", ["index", "a b", "über", "a.b-c_d", "100%", "x" * 200])
def test_names(filled: Relay, name: str) -> None:
    path = f"/v1/consumers/{quote(name, safe='')}"
    assert filled.call("PUT", path, {}).json["name"] == name
    assert filled.call("GET", path).json["name"] == name
    assert filled.call("DELETE", path).status == 204


def test_a_group_is_shown_by_the_places_its_partitions_share(filled: Relay) -> None:
    joined = filled.call("POST", "/v1/consumer-groups/index/join", {}).json
    cursor = filled.stream(limit=2).cursor
    body = {
        "member": joined["member"],
        "tokens": {"7": joined["partitions"]["7"]},
        "checkpoints": {"7": {"kind": "stream", "cursor": cursor}},
    }
    assert filled.call("PUT", "/v1/consumers/index", body).status == 200
    found = filled.get("/v1/consumers/index").json
    assert found["partitions"] == {"0-6,8-255/256": None, "7/256": {"kind": "stream", "cursor": cursor}}
    body["tokens"]["7"] += 1
    reply = filled.call("PUT", "/v1/consumers/index", body)
    assert (reply.status, reply.error["code"]) == (409, "FENCED")
    body["checkpoints"]["7"]["cursor"] = Cursor.parse(cursor).at(99).text
    assert filled.call("PUT", "/v1/consumers/index", body).error["code"] == "SCN_AHEAD"
