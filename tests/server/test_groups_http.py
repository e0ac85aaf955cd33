"""Consumer groups over HTTP, as a client of any language would speak it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.cycle.world import World, numbered
from tests.server.relay import Relay, Reply

ALL = dict.fromkeys(map(str, range(256)), 1)


def group(relay: Relay, action: str, body: Any) -> Reply:
    return relay.call("POST", f"/v1/consumer-groups/index/{action}", body)


def joined(relay: Relay, **body: Any) -> Any:
    return group(relay, "join", body).json


def beat(relay: Relay, member: str, **body: Any) -> Any:
    return group(relay, "heartbeat", {"member": member, **body}).json


def save(relay: Relay, member: str, tokens: Any, checkpoints: Any) -> Reply:
    body = {"member": member, "tokens": tokens, "checkpoints": checkpoints}
    return relay.call("PUT", "/v1/consumers/index", body)


@pytest.fixture
def world(world: World) -> World:
    world.fed("orders", numbered("a", "b"))
    world.commit("orders")
    return world


@pytest.fixture
def stored(relay: Relay) -> dict[str, Any]:
    """A checkpoint that the relay takes."""
    return {"kind": "stream", "cursor": relay.stream(since=0).cursor}


def code(reply: Reply) -> tuple[int, str]:
    assert reply.error["message"]
    return reply.status, reply.error["code"]


def test_the_life_of_two_members(relay: Relay, stored: dict[str, Any]) -> None:
    first = joined(relay, sources=["orders"], client="here")
    assert (first["partitions"], first["checkpoints"], first["revoked"]) == (ALL, {}, [])
    assert first["lease_seconds"] == 15
    assert save(relay, first["member"], ALL, {"0-254": stored, "255": stored}).status == 200
    second = joined(relay, sources=["orders"], lease_seconds=5)
    assert (second["partitions"], second["lease_seconds"]) == ({}, 5)
    told = beat(relay, first["member"], version=first["version"])
    assert told["revoked"] == list(range(128, 256))
    assert len(told["checkpoints"]) == 256
    told = beat(relay, first["member"], released=told["revoked"])
    assert sorted(map(int, told["partitions"])) == list(range(128))
    share = beat(relay, second["member"], version=second["version"])
    assert share["partitions"] == {str(number): 2 for number in range(128, 256)}
    assert share["checkpoints"] == {str(number): stored for number in range(128, 256)}
    assert code(save(relay, first["member"], ALL, {"200": stored})) == (409, "FENCED")
    assert code(save(relay, second["member"], {"200": 1}, {"200": stored})) == (409, "FENCED")
    assert save(relay, second["member"], {"200": 2}, {"200": stored}).status == 200
    assert group(relay, "leave", {"member": first["member"]}).json == {"left": True}
    assert group(relay, "leave", {"member": first["member"]}).json == {"left": False}
    assert code(group(relay, "heartbeat", {"member": first["member"]})) == (409, "FENCED")


def test_a_join_whose_answer_was_lost_is_asked_again(relay: Relay) -> None:
    assert joined(relay, member="m-1") == joined(relay, member="m-1")


def test_a_group_is_shown_among_the_consumers(relay: Relay, stored: dict[str, Any]) -> None:
    member = joined(relay, sources=["orders"], client="host:1")["member"]
    joined(relay, sources=["orders"], member="second")
    save(relay, member, ALL, {"0-9": stored})
    shown = relay.get("/v1/consumers/index").json
    assert (shown["name"], shown["sources"], shown["scn"]) == ("index", ["orders"], 2)
    assert shown["partitions"] == {"0-9/256": stored, "10-255/256": None}
    owners = [(one["member"], one["client"], one["partitions"]) for one in shown["members"]]
    assert owners == [(member, "host:1", "0-255/256"), ("second", None, None)]


def test_other_sources_are_refused_with_what_to_do(relay: Relay, world: World) -> None:
    joined(relay, sources=["orders"])
    refused = group(relay, "join", {"sources": []})
    assert code(refused) == (400, "BAD_REQUEST")
    assert "all sources" in refused.error["message"]
    assert "stop all its members first" in refused.error["hint"]


@pytest.mark.parametrize(
    ("action", "body", "expected"),
    [
        ("join", {"sources": ["ordres"]}, (404, "NOT_FOUND")),
        ("join", {"lease_seconds": 0.1}, (422, "INVALID")),
        ("join", {"lease_seconds": 1e9}, (422, "INVALID")),
        ("join", {"member": ""}, (422, "INVALID")),
        ("join", {"member": "a\x00b"}, (422, "INVALID")),
        ("join", {"client": "a\x00b"}, (422, "INVALID")),
        ("join", {"partitions": 3}, (422, "INVALID")),
        ("heartbeat", {"member": "nobody"}, (409, "FENCED")),
        ("heartbeat", {"member": "nobody", "released": [256]}, (422, "INVALID")),
        ("heartbeat", {}, (422, "INVALID")),
        ("leave", {}, (422, "INVALID")),
        ("destroy", {}, (404, "NOT_FOUND")),
    ],
)
def test_what_makes_no_sense_is_refused(relay: Relay, action: str, body: Any, expected: tuple[int, str]) -> None:
    assert code(group(relay, action, body)) == expected


@pytest.mark.parametrize("key", ["256", "x", "1-", "3-1", "-1", "", "1/2", "9999999999"])
def test_a_checkpoint_of_no_partition_is_refused(relay: Relay, stored: dict[str, Any], key: str) -> None:
    member = joined(relay)["member"]
    assert code(save(relay, member, ALL, {key: stored})) == (400, "BAD_REQUEST")
    assert code(save(relay, member, {"1": 1, key: 1}, {"1": stored})) == (400, "BAD_REQUEST")


def test_a_checkpoint_that_is_none_comes_twice_or_without_token_is_refused(
    relay: Relay, stored: dict[str, Any]
) -> None:
    member = joined(relay)["member"]
    assert code(save(relay, member, ALL, {"1": {"kind": "stream"}})) == (400, "BAD_REQUEST")
    assert code(save(relay, member, ALL, {"1": stored, "0-3": stored})) == (400, "BAD_REQUEST")
    assert code(save(relay, member, {"2": 1}, {"1": stored})) == (400, "BAD_REQUEST")
    assert code(save(relay, member, {"1": "x"}, {"1": stored})) == (422, "INVALID")
    ahead = stored | {"cursor": stored["cursor"].replace(".2.", ".9.")}
    assert code(save(relay, member, ALL, {"1": ahead})) == (409, "SCN_AHEAD")


def test_a_plain_checkpoint_of_a_group_is_refused(relay: Relay, stored: dict[str, Any]) -> None:
    joined(relay)
    assert code(relay.call("PUT", "/v1/consumers/index", {"checkpoint": stored})) == (400, "BAD_REQUEST")


def test_names_that_are_none(relay: Relay) -> None:
    for action, body in (("join", {}), ("heartbeat", {"member": "m"}), ("leave", {"member": "m"})):
        reply = relay.call("POST", f"/v1/consumer-groups/a%00b/{action}", body)
        assert code(reply) == (400, "BAD_REQUEST")


def test_groups_need_the_right_to_consume(world: World, serve: Callable[..., Relay]) -> None:
    world.settings["relay"] = {"tokens": {"read": "r-token", "consume": "c-token"}}
    world.close()
    relay = serve()
    path = "/v1/consumer-groups/index/join"
    assert code(relay.call("POST", path, {})) == (401, "UNAUTHORIZED")
    assert code(relay.call("POST", path, {}, token="r-token")) == (403, "FORBIDDEN")
    assert relay.call("POST", path, {}, token="c-token").status == 200
