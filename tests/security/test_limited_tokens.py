"""Tokens for some sources only: each call either keeps to those sources, or refuses the token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from differ.client import Client, Consumer
from differ.config import load, shown
from differ.errors import AccessError, ConfigError
from tests.cycle.world import World
from tests.server.relay import Relay, Reply

FULL = {"read": "read-token", "consume": "consume-token", "admin": "admin-token"}
LIMITED = {
    "readers": {"token": "shop-read", "sources": ["orders"]},
    "team": {"token": "shop-consume", "right": "consume", "sources": "orders"},
    "chief": {"token": "shop-admin", "right": "admin", "sources": ["orders", "grouped"]},
}


@pytest.fixture
def limited(world: World, serve: Callable[..., Relay]) -> Relay:
    """A relay of `orders`, `secrets` and a group of `grouped` and `other`, all with one row."""
    for source in ("orders", "secrets", "grouped", "other"):
        world.fed(source, [{"id": 1, "from": source}])
        world.commit(source)
    world.settings["relay"] = {"tokens": {**FULL, "limited": LIMITED}}
    world.settings["consistency_groups"] = {"shop": {"sources": ["grouped", "other"]}}
    world.close()
    return serve()


def refused(reply: Reply) -> bool:
    if reply.status != 403:
        return False
    assert reply.error["code"] == "FORBIDDEN"
    return True


def test_events_are_those_of_its_sources(limited: Relay) -> None:
    for path in ("/v1/stream", "/v1/stream?source=orders"):
        reply = limited.call("GET", path, token="shop-read")
        assert {event["source"] for event in reply.lines} == {"orders"}
    for path in ("/v1/stream?source=secrets", "/v1/stream?source=orders,secrets", "/v1/stream?source=nothing"):
        assert refused(limited.call("GET", path, token="shop-read"))


def test_so_are_states_and_schemas(limited: Relay) -> None:
    listed = limited.call("GET", "/v1/sources", token="shop-read").json["sources"]
    assert [entry["source"] for entry in listed] == ["orders"]
    assert limited.call("GET", "/v1/sources/orders", token="shop-read").status == 200
    assert refused(limited.call("GET", "/v1/sources/secrets", token="shop-read"))
    everything = limited.call("GET", "/v1/sources", token="read-token").json["sources"]
    schema = {entry["source"]: entry["schema"] for entry in everything}
    assert limited.call("GET", f"/v1/schemas/{schema['orders']}", token="shop-read").status == 200
    assert refused(limited.call("GET", f"/v1/schemas/{schema['secrets']}", token="shop-read"))


def test_a_bootstrap_holds_its_sources(limited: Relay) -> None:
    def begin(token: str, *sources: str) -> Reply:
        return limited.call("POST", "/v1/bootstrap", {"consumer": "a", "sources": list(sources)}, token=token)

    pinned = begin("shop-consume").json
    assert [entry["source"] for entry in pinned["sources"]] == ["orders"]
    assert refused(begin("shop-consume", "secrets"))
    assert limited.call("GET", f"/v1/bootstrap/{pinned['id']}", token="shop-consume").status == 200
    rows = limited.call("GET", f"/v1/bootstrap/{pinned['id']}/orders", token="shop-consume")
    assert len(rows.lines) == 1
    of_all = f"/v1/bootstrap/{begin('consume-token').json['id']}"
    for method, path in (("GET", ""), ("POST", "/renew"), ("DELETE", ""), ("GET", "/secrets")):
        assert refused(limited.call(method, of_all + path, token="shop-consume"))
    assert limited.call("DELETE", f"/v1/bootstrap/{pinned['id']}", token="shop-consume").json == {"removed": True}


def test_consumers_are_those_of_its_sources(limited: Relay) -> None:
    def put(name: str, token: str, **body: Any) -> Reply:
        return limited.call("PUT", f"/v1/consumers/{name}", body, token=token)

    assert put("mine", "shop-consume", sources=["orders"]).status == 200
    assert put("mine", "shop-consume", client="me").status == 200
    assert put("theirs", "consume-token", sources=["secrets", "orders"]).status == 200
    assert put("everyones", "consume-token").status == 200
    for sources in ({}, {"sources": []}, {"sources": ["orders", "secrets"]}):
        assert refused(put("new", "shop-consume", **sources))
        assert not sources or refused(put("mine", "shop-consume", **sources))
    for name in ("theirs", "everyones"):
        for method in ("GET", "DELETE"):
            assert refused(limited.call(method, f"/v1/consumers/{name}", token="shop-consume"))
        assert refused(put(name, "shop-consume", sources=["orders"]))
        assert refused(put(name, "shop-consume", client="me"))
    names = [entry["name"] for entry in limited.call("GET", "/v1/consumers", token="shop-consume").json["consumers"]]
    assert names == ["mine"]
    assert limited.call("GET", "/v1/consumers/nobody", token="shop-consume").status == 404
    assert limited.call("DELETE", "/v1/consumers/mine", token="shop-consume").status == 204


def test_groups_too(limited: Relay) -> None:
    def call(what: str, token: str, **body: Any) -> Reply:
        return limited.call("POST", f"/v1/consumer-groups/{what}", body, token=token)

    assert refused(call("mine/join", "shop-consume"))
    assert refused(call("mine/join", "shop-consume", sources=["secrets"]))
    member = call("mine/join", "shop-consume", sources=["orders"]).json["member"]
    assert call("mine/heartbeat", "shop-consume", member=member).status == 200
    assert call("mine/leave", "shop-consume", member=member).json == {"left": True}
    member = call("theirs/join", "consume-token", sources=["secrets"]).json["member"]
    for what in ("heartbeat", "leave"):
        assert refused(call(f"theirs/{what}", "shop-consume", member=member))
    assert refused(call("theirs/join", "shop-consume", sources=["orders"]))
    put = {"member": member, "tokens": {}, "checkpoints": {}}
    assert refused(limited.call("PUT", "/v1/consumers/theirs", put, token="shop-consume"))


def test_operating_wants_all_of_a_group(limited: Relay) -> None:
    def act(source: str, action: str, token: str) -> Reply:
        return limited.call("POST", f"/v1/sources/{source}/{action}", {"cycle": 1, "hash": "x"}, token=token)

    for action in ("pause", "resume"):
        assert act("orders", action, "shop-admin").status == 200
    for action in ("scan", "pause", "resume", "approve", "reject"):
        for source in ("secrets", "grouped", "other"):
            assert refused(act(source, action, "shop-admin"))
        assert refused(act("orders", action, "shop-consume"))


def test_what_is_about_everything_wants_a_full_token(limited: Relay) -> None:
    """Also calls that nobody thought of when he wrote them: they do not say that they look at sources."""
    for path in ("/metrics", "/openapi.json", "/v1/modules"):
        assert refused(limited.call("GET", path, token="shop-admin")), path
    paths = limited.call("GET", "/openapi.json", token="read-token").json["paths"]
    leaking = {
        path
        for path, methods in paths.items()
        if "get" in methods and "{" not in path
        and b"secrets" in limited.call("GET", path, token="shop-admin").body
    }  # fmt: skip
    assert leaking == set()


def test_the_client_works_with_one(limited: Relay) -> None:
    class Gathering(Consumer):
        def __init__(self) -> None:
            self.rows: list[Any] = []

        def on_event(self, event: Any) -> None:
            self.rows.append(event.after)

    consumer = Gathering()
    Client(limited.url, token="shop-consume").run(consumer, name="index", sources=["orders"], until_head=True)
    assert consumer.rows == [{"id": 1, "from": "orders"}]
    with pytest.raises(AccessError):
        Client(limited.url, token="shop-consume").run(Gathering(), name="other", until_head=True)


def test_the_configuration_names_sources_that_there_are(tmp_path: Path) -> None:
    def write(**token: Any) -> None:
        body = {"relay": {"tokens": {"limited": {"team": {"token": "env:TEAM", **token}}}}}
        (tmp_path / "scheduler.yaml").write_text(yaml.safe_dump({"sources": {"orders": {"iterator": "sql"}}, **body}))

    for wrong in ({"sources": ["order"]}, {"sources": []}, {}, {"sources": ["orders"], "right": "write"}):
        write(**wrong)
        with pytest.raises(ConfigError, match="limited"):
            load(tmp_path, environ={"TEAM": "c4nary5ecret"})
    write(sources=["orders"])
    text = shown(load(tmp_path, environ={"TEAM": "c4nary5ecret"}))
    assert "env:TEAM" in text
    assert "c4nary5ecret" not in text
