"""The `kafka` sink: one message a change, keyed by the record's key, in the order of the stream.

The producer is idempotent and waits for all replicas; a call ends when every message has its delivery report. So a
retry inside the producer never makes a message twice or out of order. What a new producer sends again after a crash is
there twice: the checkpoint is kept on the relay, and Kafka's idempotence ends with the producer.

    key     the record's key as canonical JSON, so that a key stays in its partition (murmur2, as Java's producers)
    value   Debezium's envelope, differ's NDJSON object, or Avro with the id of its schema in a registry
    headers differ-stream, differ-scn; of the rows of a bootstrap also differ-generation

A topic cannot be emptied: before and after the rows of a bootstrap a mark is written to a topic of its own.
Source: librdkafka's idempotent producer; Debezium's topics; Confluent's wire format.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from differ.config.fields import Duration, Section
from differ.errors import FencedError, SinkError, SinkUnavailableError, UsageError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.sinks.avromessages import avro_bytes, schema_of
from differ.sinks.contract import Change, EventSink, Generation, RefusedError, SinkContext
from differ.sinks.envelopes import debezium_event, encoded, mark, native_event
from differ.sinks.extras import driver
from differ.sinks.places import place
from differ.sinks.plain import key_text
from differ.sinks.schemaregistry import RegistryOptions, SchemaRegistry, framed

if TYPE_CHECKING:
    from confluent_kafka import Producer

_OF_A_RECORD = frozenset({"MSG_SIZE_TOO_LARGE", "INVALID_RECORD", "INVALID_MSG", "INVALID_MSG_SIZE"})
_OF_THE_SETUP = frozenset(
    {
        "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "SASL_AUTHENTICATION_FAILED",
        "_AUTHENTICATION", "TOPIC_EXCEPTION", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART", "POLICY_VIOLATION",
        "UNSUPPORTED_SASL_MECHANISM", "_SSL",
    }
)  # fmt: skip
_FENCING = frozenset({"PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "_FENCED"})
_OURS = frozenset({"bootstrap.servers", "enable.idempotence", "acks", "partitioner", "message.timeout.ms"})

Delivery: TypeAlias = tuple[Change | None, Any]


class KafkaOptions(Section):
    """The options of a `kafka` sink."""

    servers: str = Field(min_length=1, description="host:port, several with commas.", examples=["127.0.0.1:9092"])
    topic: str = Field("{source}", min_length=1, description="`{source}` stands for the source's name.")
    format: Literal["debezium", "native", "avro"] = Field(
        "debezium", description="Of the messages; `avro` needs a `registry`."
    )
    tombstones: bool = Field(
        False, description="After a delete also a message without value, which lets a compacted topic forget the key."
    )
    marks: str | None = Field(
        "differ-marks", description="The topic of the marks before and after a bootstrap; null: none are written."
    )
    server_name: str = Field("differ", description="Debezium's logical name, `source.name`.")
    registry: RegistryOptions | None = Field(None, description="A schema registry.", examples=["{url: ..}"])
    timeout_seconds: Duration = Field(60.0, alias="timeout", description="Until a message that is not taken fails.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="librdkafka's own properties, such as `security.protocol`.", repr=False
    )


class KafkaSink(EventSink):
    """Produces and awaits all reports; bound to one thread at a time."""

    Options: ClassVar[type[Section]] = KafkaOptions
    options: KafkaOptions

    def __init__(self, context: SinkContext, options: KafkaOptions) -> None:
        super().__init__(context, options)
        self._producer: Producer | None = None
        self._generation: Generation | None = None
        self._registry = None if options.registry is None else SchemaRegistry(options.registry, context.name)
        self._parsed: dict[int, Any] = {}

    @classmethod
    def check(cls, context: SinkContext, options: KafkaOptions) -> None:
        """Raise UsageError for options that contradict each other."""
        if (options.format == "avro") != (options.registry is not None):
            raise UsageError("options: format 'avro' and a registry belong together")
        if owned := sorted(_OURS.intersection(options.config)):
            raise UsageError(f"options.config: {owned[0]} is the sink's own", hint="use the sink's options")

    def open(self) -> None:
        """Make the producer and ask the servers for their topics."""
        self.close()
        kafka = driver("confluent_kafka", extra="kafka", sink=self.context.name)
        try:
            self._make().list_topics(timeout=min(10.0, self.options.timeout_seconds))
        except kafka.KafkaException as error:
            raise self._told(error.args[0]) from None

    def close(self) -> None:
        """Let go of the connections; what was not delivered is dropped, its call has failed."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0)
        self._producer = None
        if self._registry is not None:
            self._registry.close()

    # -- writing ----------------------------------------------------------------------------------------------

    def publish(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Send the changes and wait for every report. RefusedError names the records that the server would not take."""
        messages: list[tuple[Change | None, str, bytes, bytes | None, Any]] = []
        refused: list[tuple[Change, str]] = []
        for change in changes:
            topic = place(self.options.topic, change.source)
            key, headers = key_text(change).encode(), self._headers(change)
            messages.append((change, topic, key, self._value(change, topic), headers))
            if self.options.tombstones and change.document is None:
                messages.append((change, topic, key, None, headers))
        for record, error in self._send(messages):
            if record is not None and error.name() in _OF_A_RECORD:
                refused.append((record, error.name()))
            else:
                self.close()
                raise self._told(error)
        if refused:
            raise RefusedError(
                f"sink {self.context.name}: the server refuses {len(refused)} messages", refused=refused,
                hint="see message.max.bytes of the topic and in the sink's 'config'",
            )  # fmt: skip

    def _send(self, messages: Sequence[tuple[Change | None, str, bytes, bytes | None, Any]]) -> list[Delivery]:
        """The messages that were not delivered, each with the error. Memory: the producer's own queue is bounded."""
        failed: list[Delivery] = []
        producer = self._make()
        kafka = driver("confluent_kafka", extra="kafka", sink=self.context.name)
        deadline = time.monotonic() + self.options.timeout_seconds + 5
        for change, topic, key, value, headers in messages:
            report = _reporter(change, failed)
            while True:
                try:
                    producer.produce(topic, value, key, headers=headers, on_delivery=report)
                except BufferError:
                    producer.poll(0.1)
                except kafka.KafkaException as error:
                    failed.append((change, error.args[0]))
                    break
                else:
                    producer.poll(0)
                    break
                if time.monotonic() > deadline:
                    self.close()
                    raise self._away("its queue stays full")
        if producer.flush(max(1.0, deadline - time.monotonic())):
            self.close()
            raise self._away("messages were not confirmed in time")
        return failed

    def _value(self, change: Change, topic: str) -> bytes:
        if self._registry is not None:
            schema = schema_of(change)
            number = self._registry.schema_id(f"{topic}-value", schema)
            if number not in self._parsed:
                from fastavro import parse_schema

                self._parsed[number] = parse_schema(schema)
            return framed(number, avro_bytes(change, self._parsed[number]))
        if self.options.format == "native":
            return encoded(native_event(change))
        return encoded(debezium_event(change, self.options.server_name))

    def _headers(self, change: Change) -> list[tuple[str, bytes]]:
        headers = [("differ-stream", change.stream.encode()), ("differ-scn", str(change.scn).encode())]
        return headers + ([("differ-generation", self._generation.id.encode())] if self._generation else [])

    # -- bootstrap --------------------------------------------------------------------------------------------

    def begin_bootstrap(self, generation: Generation) -> None:
        """Mark the beginning; the rows that follow carry the generation."""
        self._mark(generation, "begin")
        self._generation = generation

    def publish_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Send the rows, as reads."""
        self.publish(rows, checkpoint)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Mark the end."""
        self._generation = None
        self._mark(generation, "end")

    def _mark(self, generation: Generation, moment: str) -> None:
        if self.options.marks is None:
            return
        body = encoded(mark(self.context.name, generation, moment))
        for _, error in self._send([(None, self.options.marks, self.context.name.encode(), body, [])]):
            self.close()
            raise self._told(error)

    # -- how --------------------------------------------------------------------------------------------------

    def _make(self) -> Producer:
        if self._producer is None:
            kafka = driver("confluent_kafka", extra="kafka", sink=self.context.name)
            given: dict[str, Any] = {
                "client.id": f"differ-{self.context.name}", "log_level": 0, "linger.ms": 5, "compression.type": "lz4",
            } | self.options.config | {
                "bootstrap.servers": self.options.servers, "enable.idempotence": True, "acks": "all",
                "partitioner": "murmur2_random", "message.timeout.ms": int(self.options.timeout_seconds * 1000),
            }  # fmt: skip
            try:
                self._producer = kafka.Producer(given)
            except kafka.KafkaException as error:
                raise SinkError(
                    f"sink {self.context.name}: its configuration is refused: {error.args[0].str()}",
                    hint="see 'config' of the sink and librdkafka's CONFIGURATION.md",
                ) from None
        return self._producer

    def _told(self, error: Any) -> SinkError | FencedError:
        name = error.name()
        where = f"sink {self.context.name}: the server refuses it: {name}"
        if name in _FENCING:
            return FencedError(where)
        if name in _OF_THE_SETUP:
            return SinkError(where, hint="make the topic, or check name and rights; see 'topic' and 'marks'")
        return self._away(name)

    def _away(self, why: str) -> SinkUnavailableError:
        return SinkUnavailableError(
            f"sink {self.context.name}: Kafka at {self.options.servers} cannot be reached: {why}"
        )


def _reporter(change: Change | None, failed: list[Delivery]) -> Callable[[Any, Any], None]:
    def report(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append((change, error))

    return report
