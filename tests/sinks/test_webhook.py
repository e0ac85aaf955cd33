"""The webhook sink against an HTTP server: the shared suite, signatures, answers of every kind, outages."""

import base64
import email.utils
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

from differ.errors import ConfigError, SinkError, SinkUnavailableError
from differ.sinks.contract import Document, RefusedError
from differ.sinks.plain import plain_document
from differ.sinks.webhook import WebhookSink
from differ.testing.sinks import EventSinkConformance, Feed
from tests.sinks.answering import Answer, HTTPServer, Request
from tests.sinks.feeding import made

SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()


class TestWebhook(EventSinkConformance):
    """The shared suite, in batches."""

    sink = WebhookSink
    mode = "batch"

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        self.server = HTTPServer()
        self.server.start()
        return {"url": f"{self.server.url}/changes", "mode": self.mode, "events": 3}

    @pytest.fixture(autouse=True)
    def _stopped(self, _place: None) -> Any:
        yield
        self.server.stop()

    def read(self, options: Mapping[str, Any]) -> Sequence[tuple[str, Any, Any]]:
        events = [event["data"] for request in self.server.requests for event in events_of(request)]
        return [(data["op"], data["key"]["id"], data["after"]) for data in events if "op" in data]

    def shown(self, document: Document) -> Any:
        return plain_document(document, self.feed.columns)


class TestWebhookOneByOne(TestWebhook):
    """The same with an event a request."""

    mode = "single"


@pytest.fixture
def server() -> Any:
    with HTTPServer() as running:
        yield running


def opened(server: HTTPServer, folder: Path, **more: Any) -> WebhookSink:
    sink = made(WebhookSink, folder, {"url": f"{server.url}/changes?token=very-secret", "timeout": "5s", **more})
    sink.open()
    return sink


def events_of(request: Request) -> list[dict[str, Any]]:
    """The CloudEvents of a request, by its media type."""
    body = json.loads(request.body)
    if request.headers["content-type"].startswith("application/cloudevents-batch+json"):
        assert isinstance(body, list)
        return body
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    return [body]


def test_a_request_is_signed_in_the_way_of_standard_webhooks(server: HTTPServer, tmp_path: Path) -> None:
    begun = int(time.time())
    sink = opened(server, tmp_path, secrets=[SECRET, "older"], headers={"X-Own": "1"})
    feed = Feed()
    changes = [feed.put(1), feed.put(2, name="Zoë 🦉")]
    sink.publish(changes, None)
    sink.publish(changes, None)
    sink.publish(changes[:1], None)
    sink.close()
    first, again, other = server.requests
    assert (first.path, first.headers["x-own"]) == ("/changes?token=very-secret", "1")
    assert first.headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert begun <= int(first.headers["webhook-timestamp"]) <= time.time()
    content = f"{first.headers['webhook-id']}.{first.headers['webhook-timestamp']}.".encode() + first.body
    expected = [
        "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        for key in (b"a secret of some length", b"older")
    ]
    assert first.headers["webhook-signature"].split(" ") == expected
    assert (again.headers["webhook-id"], again.body) == (first.headers["webhook-id"], first.body)
    assert other.headers["webhook-id"] != first.headers["webhook-id"]


def test_one_event_is_read_by_the_official_library(server: HTTPServer, tmp_path: Path) -> None:
    sink = opened(server, tmp_path, mode="single")
    feed = Feed()
    sink.publish([feed.put(1)], None)
    sink.close()
    (request,) = server.requests
    assert "webhook-signature" not in request.headers
    event = from_structured_event(HTTPMessage(headers=request.headers, body=request.body), JSONFormat())
    assert (event.get_type(), event.get_id()) == ("io.differ.change.insert", f"{feed.stream}:1")
    data: Any = event.get_data()
    assert (data["scn"], data["after"]["name"]) == (1, "name 1")


def test_bodies_are_bounded(server: HTTPServer, tmp_path: Path) -> None:
    sink = opened(server, tmp_path, body="4KiB")
    feed = Feed()
    changes = [feed.put(key) for key in range(20)]
    large = feed.put(99, name="x" * 5000)
    changes.insert(10, large)
    with pytest.raises(RefusedError) as caught:
        sink.publish(changes, None)
    assert caught.value.refused == ((large, "larger than 4096 bytes"),)
    sink.close()
    assert max(len(request.body) for request in server.requests) <= 4096
    sent = [event["data"]["scn"] for request in server.requests for event in events_of(request)]
    assert sent == list(range(1, 21))
    assert 2 < len(server.requests) < 15


def test_refused_events_are_found_and_the_others_sent(server: HTTPServer, tmp_path: Path) -> None:
    taken: list[int] = []

    def respond(request: Request) -> Answer:
        scns = [event["data"]["scn"] for event in events_of(request)]
        if {3, 8} & set(scns):
            return Answer(422, b"name 3 is not allowed")
        taken.extend(scns)
        return Answer(204)

    server.respond = respond
    sink = opened(server, tmp_path)
    feed = Feed()
    changes = [feed.put(key) for key in range(1, 11)]
    with pytest.raises(RefusedError) as caught:
        sink.publish(changes, None)
    sink.close()
    assert caught.value.refused == ((changes[2], "status 422"), (changes[7], "status 422"))
    assert "name 3" not in str(caught.value)
    assert taken == [1, 2, 4, 5, 6, 7, 9, 10]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_passes_is_tried_again(server: HTTPServer, tmp_path: Path, status: int) -> None:
    answers = [Answer(status, b"busy"), Answer(202)]
    server.respond = lambda request: answers.pop(0)
    sink = opened(server, tmp_path)
    changes = [Feed().put(1)]
    with pytest.raises(SinkUnavailableError, match=f"answers {status}"):
        sink.publish(changes, None)
    sink.publish(changes, None)
    sink.close()
    assert answers == []


@pytest.mark.parametrize(
    "text",
    [lambda: "120", lambda: email.utils.formatdate(time.time() + 120, usegmt=True)],
    ids=["seconds", "date"],
)
def test_retry_after_is_kept(server: HTTPServer, tmp_path: Path, text: Callable[[], str]) -> None:
    server.respond = lambda request: Answer(429, headers=(("retry-after", text()),))
    sink = opened(server, tmp_path)
    changes = [Feed().put(1)]
    with pytest.raises(SinkUnavailableError, match="answers 429"):
        sink.publish(changes, None)
    with pytest.raises(SinkUnavailableError, match=r"asked to wait 1[12]\d s more"):
        sink.publish(changes, None)
    sink.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize("text", ["-5", "soon", "", "1e9"])
def test_a_retry_after_that_is_none_is_left_alone(server: HTTPServer, tmp_path: Path, text: str) -> None:
    answers = [Answer(503, headers=(("retry-after", text),)), Answer(200)]
    server.respond = lambda request: answers.pop(0)
    sink = opened(server, tmp_path)
    with pytest.raises(SinkUnavailableError):
        sink.publish([Feed().put(1)], None)
    sink.publish([Feed().put(1)], None)
    sink.close()


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 410])
def test_a_wrong_setup_stops_the_sink(server: HTTPServer, tmp_path: Path, status: int) -> None:
    server.respond = lambda request: Answer(status, headers=(("location", f"{server.url}/elsewhere"),))
    sink = opened(server, tmp_path, secrets=SECRET)
    with pytest.raises(SinkError, match=f"answers {status}") as caught:
        sink.publish([Feed().put(1), Feed().put(2)], None)
    sink.close()
    assert not caught.value.transient
    assert not isinstance(caught.value, RefusedError)
    assert len(server.requests) == 1


def test_a_server_that_is_away_for_a_while(server: HTTPServer, tmp_path: Path) -> None:
    sink = opened(server, tmp_path, secrets=SECRET)
    feed = Feed()
    sink.publish([feed.put(1)], None)
    sink.close()
    server.stop()
    change = feed.put(2)
    with pytest.raises(SinkUnavailableError) as caught:
        sink.publish([change], None)
    told = str(caught.value) + repr(sink.options)
    assert not [secret for secret in ("very-secret", SECRET, "name 2") if secret in told]
    server.start()
    sink.publish([change], None)
    sink.close()
    assert [event["data"]["scn"] for request in server.requests for event in events_of(request)] == [1, 2]


def test_an_answer_that_never_comes_is_given_up(server: HTTPServer, tmp_path: Path) -> None:
    import threading

    go_on = threading.Event()

    def respond(request: Request) -> Answer:
        go_on.wait(30)
        return Answer()

    server.respond = respond
    sink = opened(server, tmp_path, timeout="200ms")
    with pytest.raises(SinkUnavailableError, match="TimeoutError"):
        sink.publish([Feed().put(1)], None)
    go_on.set()
    sink.close()


def test_an_endless_answer_is_not_read_to_its_end(server: HTTPServer, tmp_path: Path) -> None:
    server.respond = lambda request: Answer(200, b"x" * 5_000_000)
    sink = opened(server, tmp_path)
    feed = Feed()
    sink.publish([feed.put(1)], None)
    sink.publish([feed.put(2)], None)
    sink.close()
    assert len(server.requests) == 2


def test_rows_of_a_bootstrap_are_between_marks(server: HTTPServer, tmp_path: Path) -> None:
    feed = Feed()
    feed.put(1)
    feed.put(2)
    sink = opened(server, tmp_path)
    generation = feed.generation()
    sink.begin_bootstrap(generation)
    for rows, checkpoint in feed.pages(generation, 2):
        sink.publish_bootstrap(rows, checkpoint)
    sink.end_bootstrap(generation, feed.checkpoint())
    sink.close()
    events = [event for request in server.requests for event in events_of(request)]
    assert [event["type"] for event in events] == [
        "io.differ.bootstrap.begin", "io.differ.change.insert", "io.differ.change.insert", "io.differ.bootstrap.end",
    ]  # fmt: skip
    assert [event["id"].split(":")[:2] for event in events] == [[feed.stream, generation.id]] * 4
    assert len({event["id"] for event in events}) == 4
    assert events[0]["data"]["sources"] == ["orders"]


@pytest.mark.parametrize(
    "more",
    [{"url": "ftp://x/"}, {"url": "http://"}, {"secrets": "whsec_no base64!"}, {"events": 0}, {"mode": "all"}],
    ids=["scheme", "host", "secret", "events", "mode"],
)
def test_options_are_checked(tmp_path: Path, more: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"options\.{next(iter(more))}") as caught:
        made(WebhookSink, tmp_path, {"url": "http://127.0.0.1:1/", **more})
    assert "no base64!" not in str(caught.value)
