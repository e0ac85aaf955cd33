"""What bad input gets: one form of error for all, a code that says what is wrong, nothing of the server's inside."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.cycle.world import World, numbered
from tests.server.relay import Relay

CURSOR = "6f0c1b1e-55a5-4a0c-8d59-0d4a0f6a2c11.1." + "0" * 32 + ".0"
BAD_STREAMS: list[tuple[str, int, str]] = [
    ("since=abc", 422, "INVALID"),
    ("since=-1", 422, "INVALID"),
    ("since=1.5", 422, "INVALID"),
    ("since=", 422, "INVALID"),
    ("since=9223372036854775808", 422, "INVALID"),
    ("since=9223372036854775807", 409, "SCN_AHEAD"),
    ("since=0&since=1", 400, "BAD_REQUEST"),
    ("cursor=", 400, "BAD_REQUEST"),
    ("cursor=nonsense", 400, "BAD_REQUEST"),
    ("cursor=" + "x" * 201, 422, "INVALID"),
    (f"cursor={CURSOR}&since=1", 400, "BAD_REQUEST"),
    (f"cursor={CURSOR}", 409, "STREAM_CHANGED"),
    (f"cursor={CURSOR}%00", 400, "BAD_REQUEST"),
    ("limit=-1", 422, "INVALID"),
    ("limit=1e3", 422, "INVALID"),
    ("wait=61", 422, "INVALID"),
    ("wait=-0.1", 422, "INVALID"),
    ("wait=nan", 422, "INVALID"),
    ("wait=inf", 422, "INVALID"),
    ("wait=soon", 422, "INVALID"),
    ("format=xml", 422, "INVALID"),
    ("format=", 422, "INVALID"),
    ("ops=upsert", 400, "BAD_REQUEST"),
    ("ops=insert,,delete", 400, "BAD_REQUEST"),
    ("partition=4/4", 400, "BAD_REQUEST"),
    ("partition=0/0", 400, "BAD_REQUEST"),
    ("partition=0", 400, "BAD_REQUEST"),
    ("partition=3-1/4", 400, "BAD_REQUEST"),
    ("partition=0/4&partition=1/4", 400, "BAD_REQUEST"),
    ("source=orderz", 404, "NOT_FOUND"),
    ("source=a,", 400, "BAD_REQUEST"),
    ("source=", 400, "BAD_REQUEST"),
    ("source=a%00", 404, "NOT_FOUND"),
    ("source=%F0%9F%A6%89", 404, "NOT_FOUND"),
    ("control=1&format=frames", 400, "BAD_REQUEST"),
    ("control=7", 422, "INVALID"),
    ("sources=a", 422, "INVALID"),
    ("Since=1", 422, "INVALID"),
]
BAD_CALLS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/", None, 404, "NOT_FOUND"),
    ("GET", "/v1/nothing", None, 404, "NOT_FOUND"),
    ("GET", "/v1/stream/", None, 404, "NOT_FOUND"),
    ("GET", "/docs", None, 404, "NOT_FOUND"),
    ("POST", "/v1/stream", None, 405, "METHOD_NOT_ALLOWED"),
    ("PATCH", "/v1/consumers/a", None, 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/v1/sources/none", None, 404, "NOT_FOUND"),
    ("GET", "/v1/sources/" + "x" * 64, None, 422, "INVALID"),
    ("GET", "/v1/schemas/999", None, 404, "NOT_FOUND"),
    ("GET", "/v1/schemas/one", None, 422, "INVALID"),
    ("GET", "/v1/schemas/99999999999999999999", None, 422, "INVALID"),
    ("GET", "/v1/schemas/1?format=xml", None, 422, "INVALID"),
    ("GET", "/v1/consumers/none", None, 404, "NOT_FOUND"),
    ("DELETE", "/v1/consumers/none", None, 404, "NOT_FOUND"),
    ("PUT", "/v1/consumers/" + "x" * 201, {}, 422, "INVALID"),
    ("PUT", "/v1/consumers/a%01b", {}, 400, "BAD_REQUEST"),
    ("PUT", "/v1/consumers/a%0Ab", {}, 404, "NOT_FOUND"),
    ("PUT", "/v1/consumers/a", None, 422, "INVALID"),
    ("PUT", "/v1/consumers/a", b"{", 422, "INVALID"),
    ("PUT", "/v1/consumers/a", b"\xff\xfe", 422, "INVALID"),
    ("PUT", "/v1/consumers/a", [1], 422, "INVALID"),
    ("PUT", "/v1/consumers/a", {"checkpont": {}}, 422, "INVALID"),
    ("PUT", "/v1/consumers/a", {"checkpoint": {}}, 400, "BAD_REQUEST"),
    ("PUT", "/v1/consumers/a", {"checkpoint": {"kind": "stream", "cursor": 7}}, 400, "BAD_REQUEST"),
    ("PUT", "/v1/consumers/a", {"checkpoint": {"kind": "stream", "cursor": CURSOR}}, 409, "STREAM_CHANGED"),
    ("PUT", "/v1/consumers/a", {"sources": ["none"]}, 404, "NOT_FOUND"),
    ("PUT", "/v1/consumers/a", {"sources": "a"}, 422, "INVALID"),
    ("POST", "/v1/sources/none/scan", None, 404, "NOT_FOUND"),
    ("POST", "/v1/sources/none/pause", None, 404, "NOT_FOUND"),
    ("POST", "/v1/sources/none/approve", {"cycle": 1, "hash": "x"}, 404, "NOT_FOUND"),
    ("POST", "/v1/sources/a/approve", None, 422, "INVALID"),
    ("POST", "/v1/sources/a/approve", {"cycle": 1}, 422, "INVALID"),
    ("POST", "/v1/sources/a/approve", {"cycle": "first", "hash": "x"}, 422, "INVALID"),
    ("POST", "/v1/sources/a/approve", {"cycle": 99, "hash": "x"}, 400, "BAD_REQUEST"),
    ("POST", "/v1/sources/a/drop", None, 404, "NOT_FOUND"),
]
LARGE = 1 << 20


@pytest.fixture
def filled(world: World, serve: Callable[..., Relay]) -> Relay:
    world.fed("a", numbered("x"))
    world.commit("a")
    return serve()


def test_bad_streams(filled: Relay) -> None:
    for query, status, code in BAD_STREAMS:
        reply = filled.call("GET", f"/v1/stream?{query}")
        assert (reply.status, reply.error["code"]) == (status, code), query
        check_form(reply.error)


def test_bad_calls(filled: Relay) -> None:
    for method, path, body, status, code in BAD_CALLS:
        reply = filled.call(method, path, body)
        assert (reply.status, reply.error["code"]) == (status, code), (method, path, body, reply)
        check_form(reply.error)
    assert filled.stream().scns == [1]


def check_form(error: dict[str, Any]) -> None:
    assert set(error) <= {"code", "message", "hint", "oldest", "head", "source"}
    assert error["message"]
    assert error["hint"]
    assert "Traceback" not in json.dumps(error)
    assert len(json.dumps(error)) < 2000


@pytest.mark.parametrize(
    "path", ["/v1/consumers/a", "/v1/sources/a/approve", "/v1/bootstrap", "/v1/stream", "/nothing"]
)
def test_a_body_too_large_is_refused(filled: Relay, path: str) -> None:
    method = {"/v1/consumers/a": "PUT", "/v1/stream": "GET"}.get(path, "POST")
    reply = filled.call(method, path, b" " * (LARGE + 1))
    assert (reply.status, reply.error["code"]) == (413, "TOO_LARGE")


def test_a_body_that_hides_its_length_is_refused_too(filled: Relay) -> None:
    with socket.create_connection(filled.address) as client:
        client.sendall(
            b"PUT /v1/consumers/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(LARGE // 0x10000 + 1):
            client.sendall(chunk)
        assert client.recv(12) == b"HTTP/1.1 413"


def test_a_body_of_the_largest_size_is_read(filled: Relay) -> None:
    body = b"{}" + b" " * (LARGE - 2)
    assert filled.call("PUT", "/v1/consumers/a", body, Content_Type="application/json").status == 200


def test_http_1_0_is_told_to_speak_1_1(filled: Relay) -> None:
    with socket.create_connection(filled.address) as client:
        client.sendall(b"GET /v1/stream HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert b" 400 " in answer.splitlines()[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"HELLO WORLD\r\n\r\n", b"\x00" * 100])
def test_what_is_no_http_harms_nobody(filled: Relay, junk: bytes) -> None:
    with socket.create_connection(filled.address) as client:
        client.sendall(junk)
    assert filled.stream().scns == [1]


def test_a_relay_that_is_off_here_says_so(world: World, serve: Any) -> None:
    relay = serve(hosted=lambda module: module == "bootstrap")
    for path in ("/v1/stream", "/v1/consumers", "/v1/consumers/a"):
        reply = relay.get(path)
        assert (reply.status, reply.error["code"]) == (503, "UNAVAILABLE")
        assert reply.headers["retry-after"] == "1"
    assert relay.get("/v1/sources").status == 200


def test_a_bug_tells_nothing_of_the_inside(filled: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr("differ.server.stream.plan", broken)
    reply = filled.stream()
    assert (reply.status, reply.error["code"]) == (500, "INTERNAL")
    assert b"secret" not in reply.body
    monkeypatch.undo()
    assert filled.stream().scns == [1]


def test_secrets_in_a_message_are_hidden(world: World, relay: Relay) -> None:
    reply = relay.stream(source="postgresql://me:hunter22@db/shop")
    assert reply.status == 404
    assert b"hunter22" not in reply.body
