"""The nats sink against a NATS server with JetStream: the shared suite, duplicates, late replays, outages, refusals."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from nats import connect
from nats.js import api

from differ.errors import ConfigError, SinkError, SinkUnavailableError
from differ.sinks.contract import Change, Document, RefusedError
from differ.sinks.nats import NatsSink, runs
from differ.sinks.plain import plain_document
from differ.testing.sinks import EventSinkConformance, Feed
from tests.conftest import serve
from tests.servers import NATS
from tests.servers.nats import keep_quiet
from tests.sinks.feeding import made


@dataclass(frozen=True)
class Stored:
    """One message of a stream."""

    headers: dict[str, str]
    body: Any


class TestNATS(EventSinkConformance):
    """The shared suite, in differ's own form."""

    sink = NatsSink
    replays_once = True
    server: ClassVar[NATS]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, nats: NATS) -> None:
        cls.server = nats

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        self.server.ensure()
        stream = self.server.create_database()
        return {"servers": self.server.url(), "stream": stream, "subject": f"{stream}.{{source}}"}

    def read(self, options: Mapping[str, Any]) -> Sequence[tuple[str, Any, Any]]:
        found = [message.body for message in stored(self.server, options["stream"]) if "op" in message.body]
        return [(body["op"], body["key"]["id"], body["after"]) for body in found]

    def shown(self, document: Document) -> Any:
        return plain_document(document, self.feed.columns)


@pytest.fixture
def stream(nats: NATS, nats_url: str) -> Iterator[str]:
    name = nats.create_database()
    yield name
    nats.ensure()
    nats.drop_database(name)


def opened(nats: NATS, stream: str, folder: Path, **more: Any) -> NatsSink:
    given = {"servers": nats.url(), "stream": stream, "subject": f"{stream}.{{source}}", "timeout": "5s", **more}
    sink = made(NatsSink, folder, given)
    sink.open()
    return sink


def test_a_quick_replay_is_dropped(nats: NATS, stream: str, tmp_path: Path) -> None:
    feed = Feed()
    changes = [feed.put(1), feed.put(2), feed.put(1), feed.delete(2)]
    for _ in range(2):
        sink = opened(nats, stream, tmp_path)
        sink.publish(changes, None)
        sink.publish(changes[2:], None)
        sink.close()
    found = stored(nats, stream)
    assert [message.headers["Differ-Scn"] for message in found][:4] == ["1", "2", "3", "4"]
    assert found[0].headers == {
        "Nats-Msg-Id": f"{feed.stream}:1", "Differ-Stream": feed.stream, "Differ-Scn": "1",
        "Nats-Expected-Stream": stream,
    }  # fmt: skip
    assert last_of_keys(found) == {1: 3, 2: 4}


@pytest.mark.parametrize("forgotten", range(5))
@pytest.mark.parametrize("crash", range(5))
def test_a_late_replay_converges_whatever_was_forgotten(
    nats: NATS, stream: str, tmp_path: Path, forgotten: int, crash: int
) -> None:
    """The ids of the first `forgotten` messages are out of the window; the replay of all crashes after `crash`."""
    feed = Feed()
    changes = [feed.put(1), feed.put(2), feed.put(1), feed.put(2)]
    forgetful = Forgetting(nats, stream, tmp_path)
    forgetful.publish(changes[:forgotten])
    forgetful.forget()
    forgetful.publish(changes[forgotten:])
    forgetful.publish(changes[:crash])
    forgetful.publish(changes)
    assert last_of_keys(stored(nats, stream)) == {1: 3, 2: 4}


class Forgetting:
    """A sink whose server forgets, when it is told, the ids that it has seen: they get another first part."""

    def __init__(self, nats: NATS, stream: str, folder: Path) -> None:
        self._open = lambda: opened(nats, stream, folder)
        self._nats, self._stream = nats, stream
        self._seen: set[str] = set()
        self._forgotten: set[str] = set()

    def forget(self) -> None:
        """Of what was sent so far no id is known any more."""
        self._forgotten |= self._seen
        self._seen.clear()

    def publish(self, changes: Sequence[Change]) -> None:
        """Publish as a process does that has just been started."""
        sink = self._open()
        plain = sink._message

        def message(change: Change, generation: Any, suffix: str) -> Any:
            made = plain(change, generation, suffix)
            self._seen.add(made.identity)
            return replace(made, identity="late " + made.identity) if made.identity in self._forgotten else made

        sink._message = message  # type: ignore[method-assign]
        sink.publish(changes, None)
        sink.close()


def test_runs_hold_each_key_once() -> None:
    feed = Feed()
    changes = [feed.put(key) for key in (1, 2, 1, 1, 2, 3, 4, 5)]
    assert [[change.scn for change in run] for run in runs(changes, 3)] == [[1, 2], [3], [4, 5, 6], [7, 8]]


def test_rows_of_a_bootstrap_are_between_marks(nats: NATS, stream: str, tmp_path: Path) -> None:
    feed = Feed()
    feed.put(1)
    feed.put(2)
    sink = opened(nats, stream, tmp_path, format="cloudevents")
    generations = [feed.generation(), feed.generation()]
    for generation in generations:
        for _ in range(2):  # as after a crash in its middle
            sink.begin_bootstrap(generation)
            for rows, checkpoint in feed.pages(generation, 2):
                sink.publish_bootstrap(rows, checkpoint)
        sink.end_bootstrap(generation, feed.checkpoint())
    sink.publish([feed.put(1)], feed.checkpoint())
    sink.close()
    found = stored(nats, stream)
    kinds = [message.headers.get("Differ-Control") or message.body["type"] for message in found]
    once = ["bootstrap_begin", "io.differ.change.insert", "io.differ.change.insert", "bootstrap_end"]
    assert kinds == [*once, *once, "io.differ.change.update"]
    assert len({message.body["id"] for message in found if "id" in message.body}) == 5
    assert [message.headers.get("Differ-Generation") for message in found] == [
        *[generations[0].id] * 4, *[generations[1].id] * 4, None,
    ]  # fmt: skip


def test_a_server_that_is_away_for_a_while(nats: NATS, stream: str, tmp_path: Path) -> None:
    sink = opened(nats, stream, tmp_path, timeout="1s")
    feed = Feed()
    changes = [feed.put(1), feed.put(2), feed.put(3)]
    sink.publish(changes[:1], None)
    nats.kill()
    with pytest.raises(SinkUnavailableError) as caught:
        sink.publish(changes[1:2], None)
    assert "name 2" not in str(caught.value)
    nats.start()
    sink.publish(changes[1:2], None)
    nats.freeze()
    try:
        with pytest.raises(SinkUnavailableError):
            sink.publish(changes[2:], None)
    finally:
        nats.thaw()
    sink.publish(changes[2:], None)
    sink.close()
    found = [message.body["scn"] for message in stored(nats, stream)]
    assert sorted(set(found)) == [1, 2, 3]


def test_a_server_that_is_away_at_the_start(tmp_path: Path) -> None:
    sink = made(NatsSink, tmp_path, {"servers": "nats://me:very-secret@127.0.0.1:1", "stream": "S", "timeout": "1s"})
    with pytest.raises(SinkUnavailableError) as caught:
        sink.open()
    assert "very-secret" not in str(caught.value) + repr(sink.options)
    sink.close()


class Guarded(NATS):
    """A server that asks for a user."""

    def command(self) -> list[str]:
        return [*super().command(), "--user", "me", "--pass", "very-secret"]

    def url(self, database: str = "") -> str:
        return f"nats://me:very-secret@{self.host}:{self.port}"


@pytest.mark.service
def test_credentials(tmp_path: Path) -> None:
    for server in serve(Guarded()):
        sink = opened(server, server.create_database(), tmp_path)
        sink.publish([Feed().put(1)], None)
        sink.close()
        for user in ("", "me:wrong-secret@"):
            given = {"servers": f"nats://{user}{server.host}:{server.port}", "stream": "S", "timeout": "5s"}
            sink = made(NatsSink, tmp_path, given)
            with pytest.raises(SinkError, match="refuses the credentials") as caught:
                sink.open()
            assert not caught.value.transient
            assert "secret" not in str(caught.value)
            sink.close()


def test_a_message_that_is_too_large_is_named_and_the_others_sent(nats: NATS, stream: str, tmp_path: Path) -> None:
    sink = opened(nats, stream, tmp_path)
    feed = Feed()
    changes = [feed.put(1), feed.put(2, name="x" * 2_000_000), feed.put(3)]
    with pytest.raises(RefusedError) as caught:
        sink.publish(changes, None)
    assert caught.value.refused == ((changes[1], "larger than the server takes"),)
    sink.close()
    assert [message.body["scn"] for message in stored(nats, stream)] == [1, 3]


def test_a_stream_that_is_full_is_waited_for(nats: NATS, nats_url: str, tmp_path: Path) -> None:
    name = f"{nats.create_database()}_full"
    config = api.StreamConfig(name=name, subjects=[f"{name}.>"], max_msgs=1, discard=api.DiscardPolicy.NEW)
    asyncio.run(add(nats, config))
    sink = opened(nats, name, tmp_path)
    feed = Feed()
    changes = [feed.put(1), feed.put(2)]
    with pytest.raises(SinkUnavailableError, match="maximum messages exceeded"):
        sink.publish(changes, None)
    asyncio.run(update(nats, replace(config, max_msgs=9)))
    sink.publish(changes, None)
    sink.close()
    assert last_of_keys(stored(nats, name)) == {1: 1, 2: 2}
    nats.drop_database(name)


def test_a_stream_is_made_when_asked(nats: NATS, nats_url: str, tmp_path: Path) -> None:
    name = f"new_{nats.create_database()}"
    with pytest.raises(SinkError, match="there is no stream"):
        opened(nats, name, tmp_path)
    sink = opened(nats, name, tmp_path, create=True)
    sink.publish([Feed().put(1)], None)
    sink.close()
    assert len(stored(nats, name)) == 1
    nats.drop_database(name)


@pytest.mark.parametrize("more", [{"subject": "a b"}, {"subject": "a.>"}, {"format": "avro"}, {"in_flight": 0}])
def test_options_are_checked(tmp_path: Path, more: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"options\.{next(iter(more))}"):
        made(NatsSink, tmp_path, {"servers": "nats://127.0.0.1:1", "stream": "S", **more})


def stored(nats: NATS, stream: str) -> list[Stored]:
    """What the stream holds, in its order."""

    async def read() -> list[Stored]:
        client = await connect(nats.url(), error_cb=keep_quiet)
        streams = client.jetstream()
        last = (await streams.stream_info(stream)).state.last_seq
        found = [await streams.get_msg(stream, number) for number in range(1, last + 1)]
        await client.close()
        return [Stored(message.headers or {}, json.loads(message.data or b"")) for message in found]

    return asyncio.run(read())


async def add(nats: NATS, config: api.StreamConfig) -> None:
    client = await connect(nats.url(), error_cb=keep_quiet)
    await client.jetstream().add_stream(config)
    await client.close()


async def update(nats: NATS, config: api.StreamConfig) -> None:
    client = await connect(nats.url(), error_cb=keep_quiet)
    await client.jetstream().update_stream(config)
    await client.close()


def last_of_keys(messages: Sequence[Stored]) -> dict[int, int]:
    """The SCN of the last message of each key: what a reader that keeps state ends with."""
    return {message.body["key"]["id"]: message.body["scn"] for message in messages}
