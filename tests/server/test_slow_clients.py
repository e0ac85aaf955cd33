"""Clients that stop reading, and answers that fail in the middle: nobody else is harmed, or takes a part for all."""

import contextlib
import gc
import http.client
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from differ.server.services import READERS
from tests.cycle.world import World, numbered
from tests.server.eventually import eventually
from tests.server.relay import Relay

ROWS = 60_000
MIB = 1 << 20


def large(world: World, source: str = "a") -> None:
    """A source whose segment is some 12 MB, and more as lines."""
    world.fed(source)
    world.commit(source, pa.table({"id": range(ROWS), "v": [f"{number:0200d}" for number in range(ROWS)]}))


@pytest.mark.parametrize("form", ["ndjson", "frames", "frames&partition=0-6/8"])
def test_clients_that_stop_reading_hold_little_and_no_thread(world: World, relay: Relay, form: str) -> None:
    large(world)
    relay.stream(format=form.partition("&")[0])
    gc.collect()
    before = psutil.Process().memory_info().rss
    count = READERS * 3
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(relay.address)
            client.sendall(f"GET /v1/stream?format={form} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            clients.append(client)
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 200"
        # All threads that read are free again: another client is served to the end.
        assert len(relay.stream(format="frames").frames) >= 1
        grown = psutil.Process().memory_info().rss - before
        assert grown < count * 4 * MIB + 100 * MIB
    eventually(lambda: relay.stream(since=ROWS).status == 200)


def test_a_client_that_goes_in_mid_answer_frees_what_it_held(world: World, relay: Relay) -> None:
    large(world)
    for _ in range(READERS * 3):
        with socket.create_connection(relay.address) as client:
            client.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            client.recv(100)
    assert len(relay.stream().lines) == ROWS


def damaged(world: World, number: int) -> Path:
    """Flip a byte in the middle of a segment; returns the file."""
    segment = world.project.catalog.segments()[number]
    path = world.project.place.state / segment.file.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("form", ["ndjson", "frames"])
def test_damage_in_mid_answer_breaks_it_off(world: World, relay: Relay, form: str) -> None:
    large(world)
    world.fed("b", numbered("x"))
    world.commit("b")
    damaged(world, 1)
    with pytest.raises(http.client.IncompleteRead):
        relay.stream(format=form)
    assert relay.stream(limit=5).scns == [1, 2, 3, 4, 5], "what is whole is served"
    assert relay.stream(source="a").scanned == ROWS + 1


@pytest.mark.parametrize("form", ["ndjson", "frames", "arrow", "avro"])
def test_damage_at_the_beginning_is_an_error(world: World, relay: Relay, form: str) -> None:
    world.fed("a", numbered("x"))
    world.commit("a")
    path = damaged(world, 0)
    reply = relay.stream(format=form)
    assert (reply.status, reply.error["code"]) == (500, "CORRUPTION")
    assert "checksum mismatch" in reply.error["message"]
    path.unlink()
    assert relay.stream(format=form).error["code"] == "CORRUPTION"


def test_damage_after_it_was_read_once_is_found(world: World, relay: Relay) -> None:
    large(world)
    assert relay.stream(format="frames").status == 200
    damaged(world, 0)
    assert relay.stream(format="frames").error["code"] == "CORRUPTION"


def test_a_segment_that_was_let_go_in_mid_answer_breaks_it_off(world: World, relay: Relay) -> None:
    large(world, "a")
    world.fed("b", numbered("x"))
    world.commit("b")
    connection = relay.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/v1/stream")
        answer = connection.getresponse()
        world.project.catalog.let_windows_go(ROWS + 1)
        for segment in (world.project.place.state / "segments").rglob("*.arrow"):
            segment.unlink()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    error = relay.stream().error
    assert (error["code"], error["oldest"]) == ("SCN_TOO_OLD", ROWS + 2)


def test_a_stop_breaks_off_who_does_not_read(world: World, serve: Callable[..., Relay]) -> None:
    large(world)
    relay = serve()
    connection = relay.connect()
    with contextlib.closing(connection):
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.request("GET", "/v1/stream")
        answer = connection.getresponse()
        relay.stop(grace_seconds=1)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()


def test_a_stop_lets_who_reads_finish(world: World, serve: Callable[..., Relay]) -> None:
    large(world)
    relay = serve()
    connection = relay.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/v1/stream?format=frames")
        answer = connection.getresponse()
        stopping = threading.Thread(target=relay.stop, kwargs={"grace_seconds": 30.0})
        stopping.start()
        assert len(answer.read()) > MIB
        stopping.join()
