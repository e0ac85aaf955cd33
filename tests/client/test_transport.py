"""Answers of all kinds, from a server that says what a test wants: each becomes the right error."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from differ.client import Client, Consumer
from differ.client.retries import Backoff, Retries
from differ.client.transport import Transport
from differ.errors import (
    AccessError,
    BootstrapGoneError,
    DifferError,
    FencedError,
    RelayError,
    RelayUnavailableError,
    ScnAheadError,
    ScnTooOldError,
    StreamChangedError,
    UsageError,
)

Answer = tuple[int, dict[str, str], bytes]
Given = Callable[[BaseHTTPRequestHandler], Answer]


@pytest.fixture
def server() -> Iterator[tuple[str, list[Given]]]:
    """A URL, and the answers it gives one after another; the last one stays."""
    answers: list[Given] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = (answers.pop(0) if len(answers) > 1 else answers[0])(self)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Tests are quiet."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", answers
    served.shutdown()
    thread.join()
    served.server_close()


def problem(status: int, code: str, **more: Any) -> Given:
    body = json.dumps({"error": {"code": code, "message": f"it is {code}", "hint": "do this", **more}}).encode()
    return lambda request: (status, {}, body)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (410, "SCN_TOO_OLD", ScnTooOldError),
        (409, "SCN_AHEAD", ScnAheadError),
        (409, "STREAM_CHANGED", StreamChangedError),
        (409, "FENCED", FencedError),
        (410, "BOOTSTRAP_GONE", BootstrapGoneError),
        (401, "UNAUTHORIZED", AccessError),
        (403, "FORBIDDEN", AccessError),
        (400, "BAD_REQUEST", UsageError),
        (404, "NOT_FOUND", UsageError),
        (413, "TOO_LARGE", UsageError),
        (422, "INVALID", UsageError),
        (429, "TOO_MANY", RelayUnavailableError),
        (500, "INTERNAL", RelayUnavailableError),
        (503, "UNAVAILABLE", RelayUnavailableError),
        (418, "TEAPOT", RelayError),
    ],
)
def test_errors_by_code_and_status(
    server: tuple[str, list[Given]], status: int, code: str, kind: type[DifferError]
) -> None:
    url, answers = server
    answers.append(problem(status, code, oldest=7, source="orders", head=9))
    with pytest.raises(kind) as raised:
        Transport(url).call("GET", "/v1/x")
    assert type(raised.value) is kind or status == 404
    assert (raised.value.message, raised.value.hint) == (f"it is {code}", "do this")
    if isinstance(raised.value, ScnTooOldError):
        assert (raised.value.oldest, raised.value.source) == (7, "orders")
    if isinstance(raised.value, ScnAheadError):
        assert raised.value.head == 9
    if isinstance(raised.value, AccessError):
        assert raised.value.status == status


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[]", b'{"error": "no"}', b"\xff"])
def test_answers_of_what_is_no_relay(server: tuple[str, list[Given]], body: bytes) -> None:
    url, answers = server
    answers.append(lambda request: (502, {}, body))
    with pytest.raises(RelayUnavailableError, match="status 502"):
        Transport(url).call("GET", "/v1/x")
    answers[:] = [lambda request: (200, {}, b"<html>")]
    with pytest.raises(RelayError, match="no JSON"):
        Transport(url).call("GET", "/v1/x")


@pytest.mark.parametrize("status", [404, 501])
def test_another_web_server_is_not_waited_for_nor_taken_for_an_empty_relay(
    server: tuple[str, list[Given]], status: int
) -> None:
    url, answers = server
    answers.append(lambda request: (status, {}, b"<html>no</html>"))
    with pytest.raises(DifferError, match=f"status {status}.*is this the URL of a relay") as raised:
        Client(url).run(Consumer(), name="index")
    assert not isinstance(raised.value, RelayUnavailableError)


@pytest.mark.parametrize("token", ["secret\n", "two words"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(UsageError, match="spaces or line ends") as raised:
        Client("http://127.0.0.1:1", token=token)
    assert token not in str(raised.value)


def test_an_answer_that_breaks_off_is_transient(server: tuple[str, list[Given]]) -> None:
    url, answers = server

    def broken(request: BaseHTTPRequestHandler) -> Answer:
        request.close_connection = True
        return 200, {"Content-Length": "1000"}, b"{"

    answers.append(broken)
    with pytest.raises(RelayUnavailableError):
        Transport(url).call("GET", "/v1/x")
    with Transport(url).stream("/v1/x") as answer:
        assert answer.body.read(1) == b"{"
        with pytest.raises(RelayUnavailableError):
            answer.body.read(1)


def test_transient_errors_are_tried_again_and_others_are_not(server: tuple[str, list[Given]]) -> None:
    url, answers = server
    answers += [problem(503, "UNAVAILABLE")] * 3 + [lambda request: (200, {}, b'{"a": 1}')]
    backoff = Backoff(Retries(first_seconds=0.001), threading.Event())
    assert Transport(url).call("PUT", "/v1/x", body={"b": 2}, backoff=backoff) == {"a": 1}
    assert len(answers) == 1
    answers[:] = [problem(403, "FORBIDDEN"), problem(503, "UNAVAILABLE")]
    with pytest.raises(AccessError):
        Transport(url).call("GET", "/v1/x", backoff=backoff)
    assert len(answers) == 1


def test_a_redirect_is_followed_with_method_body_and_token(server: tuple[str, list[Given]]) -> None:
    url, answers = server
    seen: list[tuple[str, str, str | None]] = []

    def note(request: BaseHTTPRequestHandler) -> Answer:
        seen.append((request.command, request.path, request.headers["Authorization"]))
        return 200, {}, b"{}"

    answers += [lambda request: (307, {"Location": f"{url}/there?q=1"}, b""), note]
    Transport(url, token="t0k3n").call("POST", "/v1/bootstrap", body={})
    assert seen == [("POST", "/there?q=1", "Bearer t0k3n")]
    answers[:] = [lambda request: (307, {"Location": "/again"}, b"")]
    with pytest.raises(RelayError, match="redirected"):
        Transport(url).call("GET", "/v1/x")


def test_a_token_is_in_no_message(server: tuple[str, list[Given]]) -> None:
    url, answers = server
    answers.append(problem(401, "UNAUTHORIZED", message="it is not s3cr3t-t0k3n"))
    with pytest.raises(AccessError) as raised:
        Transport(url, token="s3cr3t-t0k3n").call("GET", "/v1/x")
    assert "s3cr3t" not in str(raised.value)


def test_a_call_that_waits_can_be_ended(server: tuple[str, list[Given]]) -> None:
    url, answers = server
    arrived, release = threading.Event(), threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> Answer:
        arrived.set()
        release.wait(30)
        return 200, {}, b"{}"

    answers.append(hang)
    transport, errors = Transport(url), list[Exception]()

    def call() -> None:
        try:
            transport.call("GET", "/v1/x")
        except DifferError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert arrived.wait(10)
    transport.abort()
    thread.join(10)
    release.set()
    assert [type(error) for error in errors] == [RelayUnavailableError]
