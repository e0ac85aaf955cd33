"""The `webhook` sink: changes as CloudEvents, in batches, by POST to a URL, one request after the other.

    2xx                               taken
    408, 425, 429, 5xx, no answer     tried again; not before the moment that Retry-After names
    400, 409, 413, 422 and the like   refused: a batch is cut in halves until the one event is found
    401, 403, 404, 405, 407, 410, 3xx the set-up: the sink stops; redirects are not followed

`webhook-id` and the ids of the events are the same each time something is sent, so a receiver can tell what it has. Of
an answer only the status and Retry-After are looked at.

Invariant: events of one key are sent in their order, an event only after those before it were taken or refused.
Source: CloudEvents' HTTP protocol binding (batched content mode); Standard Webhooks.
"""

from __future__ import annotations

import email.utils
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from differ.config.fields import Columns, CountFromOne, Duration, Section, Size
from differ.errors import SinkError, SinkUnavailableError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.records.clock import datetime_text
from differ.sinks.contract import Change, EventSink, Generation, RefusedError, SinkContext
from differ.sinks.envelopes import as_cloud_event, encoded, mark
from differ.sinks.signing import secret_bytes, signed_headers

if TYPE_CHECKING:
    from urllib3 import PoolManager

BATCH = "application/cloudevents-batch+json; charset=utf-8"
SINGLE = "application/cloudevents+json; charset=utf-8"
MARK_PREFIX = "io.differ.bootstrap."
RETRY_AFTER_SECONDS_MAX = 3600.0
_ANSWER_BYTES_MAX = 65_536
_LATER = frozenset({408, 425, 429})
_SETUP = frozenset({401, 403, 404, 405, 407, 410})


def _check_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(letter.isspace() for letter in value):
        raise ValueError("expected a URL such as https://example.com/changes")
    return value


def _check_secrets(value: tuple[str, ...]) -> tuple[str, ...]:
    for secret in value:
        secret_bytes(secret)
    return value


class WebhookOptions(Section):
    """The options of a `webhook` sink."""

    url: Annotated[str, AfterValidator(_check_url)] = Field(
        description="Where changes are posted.", examples=["https://example.com/changes"], repr=False
    )
    secrets: Annotated[Columns, AfterValidator(_check_secrets)] = Field(
        (), description="Requests are signed with each: `whsec_` and base64, or any other text.",
        examples=["env:WEBHOOK_SECRET"], repr=False,
    )  # fmt: skip
    mode: Literal["batch", "single"] = Field("batch", description="Several events a request, or one.")
    events: CountFromOne = Field(100, description="At most so many events a request.")
    body_bytes: Size = Field(1024**2, alias="body", description="At most so large a body; a larger event is refused.")
    headers: dict[str, str] = Field(
        default_factory=dict, description="Sent with each request.", examples=["{authorization: env:TOKEN}"], repr=False
    )
    ca_certs: str | None = Field(None, description="A file of certificates that are trusted.")
    timeout_seconds: Duration = Field(30.0, alias="timeout", description="Until an answer is given up.")


@dataclass(frozen=True, slots=True)
class _Event:
    """A change as it is sent; None for a mark."""

    change: Change | None
    identity: str
    body: bytes


class WebhookSink(EventSink):
    """Posts batches one after the other; bound to one thread at a time."""

    Options: ClassVar[type[Section]] = WebhookOptions
    options: WebhookOptions

    def __init__(self, context: SinkContext, options: WebhookOptions) -> None:
        super().__init__(context, options)
        self._pool: PoolManager | None = None
        self._secrets = [secret_bytes(secret) for secret in options.secrets]
        self._generation: Generation | None = None
        self._not_before = 0.0

    def close(self) -> None:
        """End the connections."""
        if self._pool is not None:
            self._pool.clear()
        self._pool = None

    # -- writing ----------------------------------------------------------------------------------------------

    def publish(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Post the changes. RefusedError names those that the receiver would not take; all others were taken."""
        self._post_all(changes, None)

    def _post_all(self, changes: Sequence[Change], generation: Generation | None) -> None:
        refused: list[tuple[Change, str]] = []
        sendable: list[_Event] = []
        for change in changes:
            event = as_cloud_event(change, generation)
            made = _Event(change, event["id"], encoded(event))
            if len(made.body) + 2 > self.options.body_bytes:
                refused.append((change, f"larger than {self.options.body_bytes} bytes"))
            else:
                sendable.append(made)
        for batch in self._batches(sendable):
            refused += self._deliver(batch)
        if refused:
            raise RefusedError(
                f"sink {self.context.name}: {self._host} refuses {len(refused)} events", refused=refused,
                hint="the receiver's log says more; values are not repeated here",
            )  # fmt: skip

    def _batches(self, events: Sequence[_Event]) -> Iterator[list[_Event]]:
        batch: list[_Event] = []
        size = 2
        most = 1 if self.options.mode == "single" else self.options.events
        for event in events:
            if batch and (len(batch) >= most or size + len(event.body) + 1 > self.options.body_bytes):
                yield batch
                batch, size = [], 2
            batch.append(event)
            size += len(event.body) + 1
        if batch:
            yield batch

    def _deliver(self, batch: Sequence[_Event]) -> list[tuple[Change, str]]:
        """Post a batch; the events of it that are refused. Cost where one of n is: about 2 * log2(n) requests."""
        status = self._post(batch)
        if 200 <= status < 300:
            return []
        if len(batch) > 1:
            half = len(batch) // 2
            return self._deliver(batch[:half]) + self._deliver(batch[half:])
        change = batch[0].change
        if change is None:
            raise SinkError(f"sink {self.context.name}: {self._host} answers {status} to the mark of a bootstrap")
        return [(change, f"status {status}")]

    def _post(self, batch: Sequence[_Event]) -> int:
        """The status of the answer, where it is one that says yes or no to what was sent."""
        if (wait := self._not_before - time.monotonic()) > 0:
            raise SinkUnavailableError(f"sink {self.context.name}: {self._host} asked to wait {wait:.0f} s more")
        single = self.options.mode == "single"
        body = batch[0].body if single else b"[" + b",".join(event.body for event in batch) + b"]"
        names = "\n".join(event.identity for event in batch)
        identity = f"msg_{hashlib.sha256(names.encode()).hexdigest()[:32]}"
        headers = {
            "user-agent": "differ",
            **{name.lower(): value for name, value in self.options.headers.items()},
            "content-type": SINGLE if single else BATCH,
            **signed_headers(identity, int(time.time()), body, self._secrets),
        }
        status, retry_after = self._request(body, headers)
        if status in _LATER or status >= 500:
            self._not_before = time.monotonic() + retry_after
            raise SinkUnavailableError(f"sink {self.context.name}: {self._host} answers {status}")
        if 300 <= status < 400:
            hint = "redirects are not followed: give the URL that they lead to"
            raise SinkError(f"sink {self.context.name}: {self._host} answers {status}", hint=hint)
        if status in _SETUP:
            raise SinkError(
                f"sink {self.context.name}: {self._host} answers {status}", hint="check the url, headers and secrets"
            )
        return status

    def _request(self, body: bytes, headers: dict[str, str]) -> tuple[int, float]:
        """Status and seconds of Retry-After."""
        import urllib3

        try:
            answer = self._connections().request(
                "POST", self.options.url, body=body, headers=headers, redirect=False, retries=False,
                preload_content=False,
            )  # fmt: skip
            rest = answer.read(_ANSWER_BYTES_MAX)
            if len(rest) < _ANSWER_BYTES_MAX:
                answer.release_conn()
            else:
                answer.close()
        except urllib3.exceptions.HTTPError as error:
            # Its text has the URL, which may hold a token.
            told = f"sink {self.context.name}: {self._host} cannot be reached: {type(error).__name__}"
            raise SinkUnavailableError(told) from None
        return answer.status, _seconds(answer.headers.get("retry-after"))

    def _connections(self) -> PoolManager:
        import urllib3

        if self._pool is None:
            certificates = self.options.ca_certs
            extra: dict[str, Any] = (
                {} if certificates is None else {"ca_certs": str(self.context.project / certificates)}
            )
            self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(self.options.timeout_seconds), **extra)
        return self._pool

    @property
    def _host(self) -> str:
        return urlsplit(self.options.url).hostname or "the receiver"

    # -- bootstrap --------------------------------------------------------------------------------------------

    def begin_bootstrap(self, generation: Generation) -> None:
        """Post the mark of the beginning."""
        self._generation = generation
        self._mark(generation, "begin")

    def publish_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Post the rows, whose ids name the generation."""
        self._post_all(rows, self._generation)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Post the mark of the end."""
        self._mark(generation, "end")

    def _mark(self, generation: Generation, moment: str) -> None:
        event = {
            "specversion": "1.0",
            "id": f"{generation.stream}:{generation.id}:{moment}",
            "source": f"urn:uuid:{generation.stream}",
            "type": MARK_PREFIX + moment,
            "time": datetime_text(datetime.now(UTC).replace(microsecond=0)),
            "datacontenttype": "application/json",
            "data": mark(self.context.name, generation, moment),
        }
        self._deliver([_Event(None, str(event["id"]), encoded(event))])


def _seconds(text: str | None) -> float:
    """Retry-After in seconds, of a number or an HTTP date; 0 where there is none or nonsense. At most an hour."""
    if text is None:
        return 0.0
    if text.strip().isdecimal():
        return min(float(text), RETRY_AFTER_SECONDS_MAX)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return min(max(0.0, moment.timestamp() - time.time()), RETRY_AFTER_SECONDS_MAX)
