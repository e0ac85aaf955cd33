"""The `nats` sink: one JetStream message a change, confirmed by the server, its id made of stream id and SCN.

The server drops a message whose id it has seen within its window (2 minutes unless the stream says otherwise), so a
quick replay is not there twice. Dropping alone would put events out of order: in a replay, the first of two changes of
a key may be forgotten already and be stored again, while the second is dropped. So two rules hold the order:

    1  messages in flight at one time are of different keys; the next run begins when the last one is confirmed
    2  in a replay, an event that the server drops is sent again under an id of its own when an event before it was
       stored anew, or when it is later than the last one that the server holds (which then was itself a replay)

Invariant: of each key, the last message in the stream is that of its last event, whenever a call has returned.
Headers: Differ-Stream, Differ-Scn, and Differ-Generation on the rows of a bootstrap and its marks (Differ-Control).
Source: NATS' JetStream model on message deduplication and publish acknowledgements.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from differ.config.fields import Columns, CountFromOne, Duration, Section
from differ.errors import SinkError, SinkUnavailableError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.sinks.contract import Change, EventSink, Generation, RefusedError, SinkContext
from differ.sinks.envelopes import as_cloud_event, debezium_event, encoded, identity_of, mark, native_event
from differ.sinks.extras import driver
from differ.sinks.net import key_identity
from differ.sinks.places import place

if TYPE_CHECKING:
    from differ.sinks.jetstream import JetStream, Message, Outcome, Refused


class NatsOptions(Section):
    """The options of a `nats` sink."""

    servers: Columns = Field(
        min_length=1, description="One URL or several of a cluster.", examples=["nats://127.0.0.1:4222"], repr=False
    )
    stream: str = Field(min_length=1, description="The JetStream stream that keeps the subjects.", examples=["DIFFER"])
    subject: str = Field(
        "differ.{source}", pattern=r"^[^\s*>]+$", description="`{source}` stands for the source's name."
    )
    create: bool = Field(False, description="Make the stream when it is not there, with the server's own limits.")
    format: Literal["native", "debezium", "cloudevents"] = Field("native", description="Of the messages.")
    in_flight: CountFromOne = Field(512, description="Messages that may wait for confirmation at one time.")
    credentials: str | None = Field(None, description="A file of NATS credentials.")
    server_name: str = Field("differ", description="Debezium's logical name, `source.name`.")
    timeout_seconds: Duration = Field(30.0, alias="timeout", description="Until a confirmation is given up.")


class NatsSink(EventSink):
    """Publishes and awaits all confirmations; bound to one thread at a time."""

    Options: ClassVar[type[Section]] = NatsOptions
    options: NatsOptions

    def __init__(self, context: SinkContext, options: NatsOptions) -> None:
        super().__init__(context, options)
        self._server: JetStream | None = None
        self._held: dict[str, int] | None = None
        self._stored = False
        self._generation: Generation | None = None

    # -- life -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and see that the stream is there."""
        self.close()
        self._connect()

    def close(self) -> None:
        """End the connection."""
        if self._server is not None:
            self._server.close()
        self._server = self._held = None

    def _connect(self) -> JetStream:
        """The server, after it was asked for the last event of each source: a pass over the events begins."""
        if self._server is not None and self._held is not None:
            return self._server
        driver("nats", extra="nats", sink=self.context.name)
        from differ.sinks.jetstream import JetStream

        options = self.options
        if self._server is None:
            path = None if options.credentials is None else str(self.context.project / options.credentials)
            self._server = JetStream(options.servers, seconds=options.timeout_seconds, credentials=path)
        server = self._server
        with self._errors():
            server.connect()
            subjects = {source: place(options.subject, source) for source in self.context.sources}
            if not server.stream_exists(options.stream):
                if not options.create:
                    raise SinkError(
                        f"sink {self.context.name}: there is no stream {options.stream!r}",
                        hint="make it, with the subjects of the sink, or set 'create: true'",
                    )
                server.make_stream(options.stream, list(dict.fromkeys(subjects.values())))
            self._held = self._last_events(server, set(subjects.values()))
            self._stored = False
        return server

    def _last_events(self, server: JetStream, subjects: set[str]) -> dict[str, int]:
        """By stream id, the SCN of the last event that the server holds."""
        last = max(filter(None, (server.last_headers(self.options.stream, subject) for subject in subjects)),
                   key=lambda found: found[0], default=None)  # fmt: skip
        scn = "" if last is None else last[1].get("Differ-Scn", "")
        return {} if last is None or not scn.isdecimal() else {last[1].get("Differ-Stream", ""): int(scn)}

    # -- writing ----------------------------------------------------------------------------------------------

    def publish(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Send the changes and wait for all confirmations. RefusedError names those that the server would not take."""
        refused: list[tuple[Change, str]] = []
        for run in runs(changes, self.options.in_flight):
            refused += self._publish(run, None)
        self._refuse(refused)

    def _publish(self, run: Sequence[Change], generation: Generation | None) -> list[tuple[Change, str]]:
        """One run of changes of different keys; those that are refused."""
        from differ.sinks.jetstream import Refused

        server = self._connect()
        before = self._stored
        refused: list[tuple[Change, str]] = []
        again: list[Change] = []
        for change, outcome in zip(run, self._send(server, run, generation, ""), strict=True):
            if isinstance(outcome, Refused):
                refused.append((change, self._refusal(outcome)))
            elif not outcome.duplicate:
                self._stored = True
            elif generation is None and (before or change.scn > (self._held or {}).get(change.stream, 0)):
                again.append(change)
        if again:
            self._stored = True
            for outcome in self._send(server, again, generation, f":{uuid.uuid4().hex[:8]}"):
                if isinstance(outcome, Refused):
                    self._refusal(outcome)
        return refused

    def _send(
        self, server: JetStream, run: Sequence[Change], generation: Generation | None, suffix: str
    ) -> list[Outcome]:
        with self._errors():
            return server.publish([self._message(change, generation, suffix) for change in run], self.options.stream)

    def _message(self, change: Change, generation: Generation | None, suffix: str) -> Message:
        from differ.sinks.jetstream import Message

        headers = {"Differ-Stream": change.stream, "Differ-Scn": str(change.scn)}
        if generation is not None:
            headers["Differ-Generation"] = generation.id
        subject = place(self.options.subject, change.source)
        identity = f"{change.stream}:{identity_of(change, generation)}{suffix}"
        return Message(subject=subject, body=self._body(change, generation), identity=identity, headers=headers)

    def _body(self, change: Change, generation: Generation | None) -> bytes:
        match self.options.format:
            case "debezium":
                return encoded(debezium_event(change, self.options.server_name))
            case "cloudevents":
                return encoded(as_cloud_event(change, generation))
            case _:
                return encoded(native_event(change))

    def _refusal(self, refused: Refused) -> str:
        """Why the server will never take one message. Raises SinkError where it is not the message."""
        from differ.sinks.jetstream import TOO_LARGE

        if refused == TOO_LARGE:
            return refused.reason
        self._held = None
        raise SinkError(
            f"sink {self.context.name}: NATS refuses it: {refused.reason} ({refused.code})",
            hint="see the limits and subjects of the stream",
        )

    def _refuse(self, refused: list[tuple[Change, str]]) -> None:
        if refused:
            raise RefusedError(
                f"sink {self.context.name}: the server refuses {len(refused)} messages", refused=refused,
                hint="see max_payload of the server and max_msg_size of the stream",
            )  # fmt: skip

    # -- bootstrap --------------------------------------------------------------------------------------------

    def begin_bootstrap(self, generation: Generation) -> None:
        """Mark the beginning on the subject of each source."""
        self._generation = generation
        self._mark(generation, "begin")

    def publish_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Send the rows, which are all of different keys."""
        refused: list[tuple[Change, str]] = []
        for run in runs(rows, self.options.in_flight):
            refused += self._publish(run, self._generation)
        self._refuse(refused)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Mark the end."""
        self._mark(generation, "end")

    def _mark(self, generation: Generation, moment: str) -> None:
        from differ.sinks.jetstream import Message, Refused

        server = self._connect()
        body = encoded(mark(self.context.name, generation, moment))
        headers = {
            "Differ-Stream": generation.stream, "Differ-Scn": str(generation.scn), "Differ-Generation": generation.id,
            "Differ-Control": f"bootstrap_{moment}",
        }  # fmt: skip
        subjects = dict.fromkeys(place(self.options.subject, source) for source in generation.sources)
        marks = [
            Message(subject=name, body=body, identity=f"{generation.id}:{moment}:{name}", headers=headers)
            for name in subjects
        ]
        with self._errors():
            outcomes = server.publish(marks, self.options.stream)
        for outcome in outcomes:
            if isinstance(outcome, Refused):
                self._refusal(outcome)

    # -- errors -----------------------------------------------------------------------------------------------

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from nats.errors import Error

        from differ.sinks.jetstream import JetStreamUnavailableError

        try:
            yield
        except (Error, JetStreamUnavailableError, OSError, TimeoutError) as error:
            self._held = None  # The next call connects again, and looks where the server stands.
            raise self._told(error) from None

    def _told(self, error: Exception) -> SinkError:
        from nats.errors import AuthorizationError
        from nats.js.errors import APIError

        from differ.sinks.jetstream import JetStreamUnavailableError

        where = f"sink {self.context.name}: NATS"
        self._held = None
        if isinstance(error, AuthorizationError) or "authorization" in str(error).lower():
            return SinkError(f"{where} refuses the credentials", hint="check user, password, or 'credentials'")
        if isinstance(error, APIError):
            text = error.description or ""
            hint = "see the stream's limits and subjects"
            return SinkError(f"{where} refuses it: error {error.err_code}: {text}", hint=hint)
        told = str(error) if isinstance(error, JetStreamUnavailableError) else type(error).__name__
        return SinkUnavailableError(f"{where} cannot be reached: {told}")


def runs(changes: Sequence[Change], most: int) -> Iterator[list[Change]]:
    """Cut the changes, in their order, before each one whose key is in the run already, and at `most`."""
    run: list[Change] = []
    keys: set[Any] = set()
    identity: Callable[[Change], Any] = key_identity
    for change in changes:
        key = identity(change)
        if key in keys or len(run) >= most:
            yield run
            run, keys = [], set()
        run.append(change)
        keys.add(key)
    if run:
        yield run
