"""Long-polls: woken by a commit of whatever process, ended by time, by the client and by a stop; many at once."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import differ
from tests.cli.shop import Shop
from tests.cycle.world import World, numbered
from tests.server.eventually import eventually
from tests.server.relay import Relay, Reply

CLIENTS = 200


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for clients that wait."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def asleep(relay: Relay, count: int = 1) -> None:
    """Return when so many calls wait for the head to move."""
    eventually(lambda: relay.services.arrivals.waiting == count)


def test_a_scan_of_another_process_wakes_it(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    shop = Shop(tmp_path / "shop")
    shop.orders(3)
    assert shop.call("scan", "--all").code == 0
    relay = Relay(differ.open(shop.folder)).start()
    try:
        reply = pool.submit(relay.stream, since=3, wait=60)
        asleep(relay)
        shop.sql("UPDATE orders SET status = 'shipped' WHERE id = 2")
        assert shop.call("scan", "--source", "orders").code == 0
        assert [event["after"] for event in reply.result().lines] == [{"id": 2, "status": "shipped"}]
    finally:
        relay.stop()
        relay.project.close()


@pytest.mark.service
def test_a_catalog_on_postgresql_wakes_it(postgresql_url: str, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    world = World(tmp_path, storage={"catalog": postgresql_url})
    world.fed("a", numbered("x"))
    world.commit("a")
    relay = Relay(world.project).start()
    try:
        reply = pool.submit(relay.stream, since=1, wait=60)
        asleep(relay)
        world.commit("a", numbered("x", "y"))
        assert reply.result().scns == [2]
    finally:
        relay.stop()
        world.close()


def test_it_sleeps_through_commits_of_other_sources(world: World, relay: Relay, pool: ThreadPoolExecutor) -> None:
    world.fed("a", numbered("x"))
    world.fed("b", numbered("x"))
    world.commit("a")
    reply: Future[Reply] = pool.submit(relay.stream, source="a", since=1, wait=60)
    asleep(relay)
    world.commit("b")
    eventually(lambda: relay.watcher.head == 2)
    asleep(relay)
    world.commit("a", numbered("y"))
    assert (reply.result().scns, reply.result().scanned) == ([3], 3)


def test_time_is_up_and_the_answer_says_how_far(world: World, relay: Relay) -> None:
    world.fed("a", numbered("x"))
    world.commit("a")
    reply = relay.stream(since=1, wait=0.05)
    assert (reply.status, reply.body, reply.scanned, reply.has_more) == (200, b"", 1, False)
    assert relay.stream(wait=60).scns == [1], "there is something, so nothing is waited for"


def test_what_is_asked_for_is_checked_before_it_waits(world: World, relay: Relay) -> None:
    assert relay.stream(since=7, wait=60).error["code"] == "SCN_AHEAD"
    assert relay.stream(source="none", wait=60).error["code"] == "NOT_FOUND"


def test_retention_and_floors_end_the_wait(world: World, relay: Relay, pool: ThreadPoolExecutor) -> None:
    world.fed("a", numbered("x"))
    world.fed("b", numbered("x"))
    world.commit("a")
    cursor = relay.stream().cursor
    reply = pool.submit(relay.stream, source="a", cursor=cursor, wait=60)
    asleep(relay)
    world.project.rebaseline("a")
    world.commit("b")
    error = reply.result().error
    assert (error["code"], error["source"]) == ("SCN_TOO_OLD", "a")


def test_many_clients_wait_without_a_thread_and_wake_together(world: World, relay: Relay) -> None:
    world.fed("a", numbered("x"))
    world.commit("a")
    relay.stream()
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(relay.address)) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(b"GET /v1/stream?since=1&wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        asleep(relay, CLIENTS)
        assert threading.active_count() <= threads + relay.services.pool._max_workers
        world.commit("a", numbered("y"))
        for client in clients:
            answer = b"".join(iter(lambda client=client: client.recv(1 << 16), b""))
            assert answer.startswith(b"HTTP/1.1 200")
            assert b'"scn":2' in answer
            assert answer.endswith(b"0\r\n\r\n")
    assert relay.services.arrivals.waiting == 0


def test_a_client_that_goes_away_is_not_waited_for(world: World, relay: Relay) -> None:
    world.fed("a", numbered("x"))
    world.commit("a")
    for _ in range(3):
        with socket.create_connection(relay.address) as client:
            client.sendall(b"GET /v1/stream?since=1&wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            asleep(relay)
        asleep(relay, 0)


def test_a_stop_ends_the_waits_with_what_there_is(
    world: World, serve: Callable[..., Relay], pool: ThreadPoolExecutor
) -> None:
    world.fed("a", numbered("x"))
    world.commit("a")
    relay = serve()
    replies = [pool.submit(relay.stream, since=1, wait=60) for _ in range(5)]
    asleep(relay, 5)
    relay.stop()
    for reply in replies:
        found = reply.result()
        assert (found.status, found.body, found.scanned) == (200, b"", 1)
    with pytest.raises(ConnectionRefusedError):
        relay.stream()
    relay.stop()


def test_more_calls_than_there_may_be_are_told_to_come_back(
    world: World, relay: Relay, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fed("a", numbered("x"))
    world.commit("a")
    monkeypatch.setattr("differ.server.gate.CALLS_MAX", 3)
    replies = [pool.submit(relay.stream, since=1, wait=60) for _ in range(3)]
    asleep(relay, 3)
    refused = relay.stream()
    assert (refused.status, refused.error["code"]) == (503, "UNAVAILABLE")
    world.commit("a", numbered("y"))
    assert [reply.result().scns for reply in replies] == [[2]] * 3
    assert relay.stream().status == 200
