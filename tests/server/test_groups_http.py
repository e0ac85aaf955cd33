"""Consumer groups over HTTP, as a client of any language would speak it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from differ.relay.watcher import HeadWatcher
from differ.server.app import build_app
from differ.server.services import Services
from differ.server.serving import Serving
from tests.cycle.world import World, numbered

ALL = dict.fromkeys(map(str, range(256)), 1)


class Caller:
    """Calls a server; `call` gives status and body."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        sent = None if body is None else json.dumps(body)
        answer = urllib3.request(method, self.url + path, body=sent, headers=headers, retries=False, timeout=30)
        return answer.status, json.loads(answer.data) if answer.data else None

    def group(self, action: str, body: Any, name: str = "index") -> tuple[int, Any]:
        return self.call("POST", f"/v1/consumer-groups/{name}/{action}", body)

    def joined(self, **body: Any) -> dict[str, Any]:
        status, answer = self.group("join", body)
        assert status == 200, answer
        return dict(answer)

    def save(self, member: str, tokens: Any, checkpoints: Any) -> tuple[int, Any]:
        body = {"member": member, "tokens": tokens, "checkpoints": checkpoints}
        return self.call("PUT", "/v1/consumers/index", body)

    def cursor(self) -> str:
        """The stream's cursor at its head."""
        answer = urllib3.request("GET", f"{self.url}/v1/stream?since=0", retries=False, timeout=30)
        return answer.headers["Differ-Cursor"]


def serve(world: World) -> Iterator[Caller]:
    watcher = HeadWatcher(world.project.catalog)
    serving = Serving(build_app(Services.of(world.project, watcher, "127.0.0.1:0")), "127.0.0.1:0")
    watcher.start()
    serving.start()
    try:
        yield Caller(serving.url)
    finally:
        serving.stop()
        watcher.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.fed("orders", numbered("a", "b"))
    world.commit("orders")
    yield world
    world.close()


@pytest.fixture
def relay(world: World) -> Iterator[Caller]:
    yield from serve(world)


@pytest.fixture
def stored(relay: Caller) -> dict[str, Any]:
    """A checkpoint that the relay takes."""
    return {"kind": "stream", "cursor": relay.cursor()}


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    assert body["error"]["message"]
    return status, body["error"]["code"]


def test_the_life_of_two_members(relay: Caller, stored: dict[str, Any]) -> None:
    first = relay.joined(sources=["orders"], client="here")
    assert (first["partitions"], first["checkpoints"], first["revoked"]) == (ALL, {}, [])
    assert first["lease_seconds"] == 15
    status, _ = relay.save(first["member"], ALL, {"0-254": stored, "255": stored})
    assert status == 200
    second = relay.joined(sources=["orders"], lease_seconds=5)
    assert (second["partitions"], second["lease_seconds"]) == ({}, 5)
    _, told = relay.group("heartbeat", {"member": first["member"], "version": first["version"]})
    assert told["revoked"] == list(range(128, 256))
    assert len(told["checkpoints"]) == 256
    _, told = relay.group("heartbeat", {"member": first["member"], "released": told["revoked"]})
    assert sorted(map(int, told["partitions"])) == list(range(128))
    _, share = relay.group("heartbeat", {"member": second["member"], "version": second["version"]})
    assert share["partitions"] == {str(number): 2 for number in range(128, 256)}
    assert share["checkpoints"] == {str(number): stored for number in range(128, 256)}
    assert code(relay.save(first["member"], ALL, {"200": stored})) == (409, "FENCED")
    assert code(relay.save(second["member"], {"200": 1}, {"200": stored})) == (409, "FENCED")
    assert relay.save(second["member"], {"200": 2}, {"200": stored})[0] == 200
    assert relay.group("leave", {"member": first["member"]}) == (200, {"left": True})
    assert relay.group("leave", {"member": first["member"]}) == (200, {"left": False})
    assert code(relay.group("heartbeat", {"member": first["member"]})) == (409, "FENCED")


def test_a_join_whose_answer_was_lost_is_asked_again(relay: Caller) -> None:
    assert relay.joined(member="m-1") == relay.joined(member="m-1")


def test_a_group_is_shown_among_the_consumers(relay: Caller, stored: dict[str, Any]) -> None:
    member = relay.joined(sources=["orders"])["member"]
    relay.save(member, ALL, {"0-9": stored})
    status, shown = relay.call("GET", "/v1/consumers/index")
    assert status == 200
    assert (shown["name"], shown["sources"], shown["scn"]) == ("index", ["orders"], 2)
    assert shown["partitions"] == {"0-9/256": stored, "10-255/256": None}


def test_other_sources_are_refused_with_what_to_do(relay: Caller, world: World) -> None:
    relay.joined(sources=["orders"])
    status, body = relay.group("join", {"sources": []})
    assert status == 400
    assert "all sources" in body["error"]["message"]
    assert "stop all its members first" in body["error"]["hint"]


@pytest.mark.parametrize(
    ("action", "body", "expected"),
    [
        ("join", {"sources": ["ordres"]}, (404, "NOT_FOUND")),
        ("join", {"lease_seconds": 0.1}, (422, "INVALID")),
        ("join", {"lease_seconds": 1e9}, (422, "INVALID")),
        ("join", {"member": ""}, (422, "INVALID")),
        ("join", {"partitions": 3}, (422, "INVALID")),
        ("heartbeat", {"member": "nobody"}, (409, "FENCED")),
        ("heartbeat", {"member": "nobody", "released": [256]}, (422, "INVALID")),
        ("heartbeat", {}, (422, "INVALID")),
        ("leave", {}, (422, "INVALID")),
        ("destroy", {}, (404, "NOT_FOUND")),
    ],
)
def test_what_makes_no_sense_is_refused(relay: Caller, action: str, body: Any, expected: tuple[int, str]) -> None:
    assert code(relay.group(action, body)) == expected


@pytest.mark.parametrize("key", ["256", "x", "1-", "3-1", "-1", "", "1/2", "9999999999"])
def test_a_checkpoint_of_no_partition_is_refused(relay: Caller, stored: dict[str, Any], key: str) -> None:
    member = relay.joined()["member"]
    assert code(relay.save(member, ALL, {key: stored})) == (400, "BAD_REQUEST")
    assert code(relay.save(member, {"1": 1, key: 1}, {"1": stored})) == (400, "BAD_REQUEST")


def test_a_checkpoint_that_is_none_comes_twice_or_without_token_is_refused(
    relay: Caller, stored: dict[str, Any]
) -> None:
    member = relay.joined()["member"]
    assert code(relay.save(member, ALL, {"1": {"kind": "stream"}})) == (400, "BAD_REQUEST")
    assert code(relay.save(member, ALL, {"1": stored, "0-3": stored})) == (400, "BAD_REQUEST")
    assert code(relay.save(member, {"2": 1}, {"1": stored})) == (400, "BAD_REQUEST")
    assert code(relay.save(member, {"1": "x"}, {"1": stored})) == (422, "INVALID")
    ahead = stored | {"cursor": stored["cursor"].replace(".2.", ".9.")}
    assert code(relay.save(member, ALL, {"1": ahead})) == (409, "SCN_AHEAD")


def test_a_plain_checkpoint_of_a_group_is_refused(relay: Caller, stored: dict[str, Any]) -> None:
    relay.joined()
    assert code(relay.call("PUT", "/v1/consumers/index", {"checkpoint": stored})) == (400, "BAD_REQUEST")


def test_groups_need_the_right_to_consume(tmp_path: Path) -> None:
    world = World(tmp_path, relay={"tokens": {"read": "r-token", "consume": "c-token"}})
    world.fed("orders", numbered("a"))
    for relay in serve(world):
        path = "/v1/consumer-groups/index/join"
        assert code(relay.call("POST", path, {})) == (401, "UNAUTHORIZED")
        assert code(relay.call("POST", path, {}, token="r-token")) == (403, "FORBIDDEN")
        assert relay.call("POST", path, {}, token="c-token")[0] == 200
    world.close()
