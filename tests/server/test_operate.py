"""Operating over HTTP: scans in child processes, pauses, and held cycles that are ended by cycle and hash."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import differ
from tests.cli.shop import Shop, table
from tests.cycle.world import World, numbered
from tests.server.eventually import eventually
from tests.server.relay import Relay

HANGING = """
from differ.iterators import iterator
import time, os

@iterator(key="id")
def hanging(ctx):
    open(os.path.join(ctx.project, "reached"), "w").close()
    time.sleep(600)
    yield []
"""
DYING = """
from differ.iterators import iterator
import os

@iterator(key="id")
def dying(ctx):
    os._exit(9)
    yield []
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop")
    shop.plugin("hanging", HANGING)
    shop.plugin("dying", DYING)
    shop.configure(
        {
            "orders": table("orders"),
            "hanging": {"iterator": "hanging"},
            "dying": {"iterator": "dying"},
            "broken": table("nowhere"),
        },
        executor={"workers": 2},
    )
    shop.orders(20)
    return shop


@pytest.fixture
def relay(shop: Shop) -> Iterator[Relay]:
    relay = Relay(differ.open(shop.folder)).start()
    yield relay
    relay.stop()
    relay.project.close()


def test_a_scan_answers_with_its_result(shop: Shop, relay: Relay) -> None:
    line = relay.call("POST", "/v1/sources/orders/scan").json
    assert (line["source"], line["status"], line["inserts"], line["scn_last"]) == ("orders", "committed", 20, 20)
    assert len(relay.stream(wait=30).lines) == 20
    assert relay.call("POST", "/v1/sources/orders/scan").json["status"] == "unchanged"
    line = relay.call("POST", "/v1/sources/broken/scan").json
    assert (line["status"], "nowhere" in line["error"]) == ("failed", True)


def test_a_scan_whose_process_dies_is_an_error(relay: Relay) -> None:
    reply = relay.call("POST", "/v1/sources/dying/scan")
    assert (reply.status, reply.error["code"]) == (500, "SCAN_FAILED")
    assert "exit code 9" in reply.error["message"]


def test_a_scan_beside_another_is_busy_and_a_stop_ends_it(shop: Shop, relay: Relay) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(relay.call, "POST", "/v1/sources/hanging/scan")
        eventually((shop.folder / "reached").exists)
        reply = relay.call("POST", "/v1/sources/hanging/scan")
        assert (reply.status, reply.error["code"]) == (409, "BUSY")
        assert relay.stream().status == 200
        # Servers that other tests share are children of this process as well.
        children = [child for child in psutil.Process().children(recursive=True) if "hanging" in child.cmdline()]
        assert children
        relay.stop(grace_seconds=20)
        error = first.result().error
        assert error["code"] == "UNAVAILABLE"
        eventually(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))


def test_more_scans_than_workers_are_told_to_come_back(shop: Shop, relay: Relay) -> None:
    shop.configure({"hanging": {"iterator": "hanging"}, "orders": table("orders")}, executor={"workers": 1})
    other = Relay(differ.open(shop.folder)).start()
    try:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(other.call, "POST", "/v1/sources/hanging/scan")
            eventually((shop.folder / "reached").exists)
            reply = other.call("POST", "/v1/sources/orders/scan")
            assert (reply.status, reply.error["code"]) == (409, "BUSY")
            child = next(c for c in psutil.Process().children() if "hanging" in c.cmdline())
            child.send_signal(signal.SIGKILL)
            assert "SIGKILL" in first.result().error["message"]
            assert other.call("POST", "/v1/sources/orders/scan").json["status"] == "committed"
    finally:
        other.stop()
        other.project.close()


def test_pause_and_resume(shop: Shop, relay: Relay) -> None:
    for _ in range(2):
        assert relay.call("POST", "/v1/sources/orders/pause").json == {"source": "orders", "paused": True}
        assert relay.get("/v1/sources/orders").json["paused"] is True
    assert relay.call("POST", "/v1/sources/orders/resume").json == {"source": "orders", "paused": False}
    assert relay.get("/v1/sources/orders").json["paused"] is False


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_a_held_cycle_is_ended_by_its_hash(shop: Shop, relay: Relay, action: str) -> None:
    relay.call("POST", "/v1/sources/orders/scan")
    shop.sql("DELETE FROM orders WHERE id > 5")
    line = relay.call("POST", "/v1/sources/orders/scan").json
    assert line["status"] == "held"
    held = relay.get("/v1/sources/orders").json["held"]
    assert (held["cycle"], held["hash"], held["deletes"]) == (line["cycle"], line["hash"], 15)
    path = f"/v1/sources/orders/{action}"
    reply = relay.call("POST", path, {"cycle": line["cycle"], "hash": "0" * 16})
    assert (reply.status, reply.error["code"]) == (409, "HELD")
    ended = relay.call("POST", path, {"cycle": line["cycle"], "hash": line["hash"]}).json
    assert ended["status"] == {"approve": "committed", "reject": "rejected"}[action]
    assert len(relay.stream(since=20).lines) == {"approve": 15, "reject": 0}[action]
    reply = relay.call("POST", path, {"cycle": line["cycle"], "hash": line["hash"]})
    assert (reply.status, reply.error["code"]) == (409, "HELD")


def test_what_there_is(world: World) -> None:
    world.fed("a", numbered("x"))
    world.fed("never")
    world.commit("a")
    relay = Relay(world.project).start()
    try:
        body = relay.get("/v1/sources").json
        stream = world.project.catalog.stream()
        assert (body["stream"], body["head"], body["oldest"]) == (stream.stream_id, 1, 1)
        first, second = body["sources"]
        assert (first["source"], first["rows"], first["key"], first["status"]) == ("a", 1, ["id"], "committed")
        assert (second["source"], second["schema"], second["key"], second["status"]) == ("never", None, None, "never")
        assert relay.get("/v1/sources/a").json == {k: body[k] for k in ("stream", "head", "oldest")} | first
        schema = relay.get(f"/v1/schemas/{first['schema']}").json
        assert (schema["source"], schema["version"], schema["schema"]["key"]) == ("a", 1, ["id"])
        for form in ("avro", "arrow", "json"):
            assert form in relay.get(f"/v1/schemas/{first['schema']}", format=form).json
    finally:
        relay.stop()
