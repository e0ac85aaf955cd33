"""Runs one sink: a thread with a client of the relay, one lease for all processes that are configured alike.

    stand by -> lease -> open the destination, ask where it stands -> bootstrap or stream -> write, write, write
                  ^                                                                                   |
                  `---- a destination or relay that is down: wait, longer each time, and again -------'

Of several processes that run the same project one writes and the others stand by (an exclusive group of the relay);
destinations that can tell writers apart refuse a late one besides. Invariant: the runner ends by itself only with an
error that a person has to mend, which `failure` gives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from differ.config.sink import SinkSettings
from differ.errors import ConsumerError, DifferError, FencedError
from differ.sinks.contract import Sink, SinkContext
from differ.sinks.registry import make_sink
from differ.sinks.status import SinkStatus, told

if TYPE_CHECKING:
    from differ.client.client import Client
    from differ.client.retries import Retries
    from differ.config.settings import Settings
    from differ.formats.checkpoint import Checkpoint

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long `stop` waits for a call of the destination that does not return; its thread is left behind then."""


def consumer_name(sink: str) -> str:
    """The name under which the relay knows a sink."""
    return f"sink.{sink}"


def context_of(settings: Settings, sink: SinkSettings, out: TextIO | None = None) -> SinkContext:
    """What the sink is told of its place."""
    return SinkContext(
        name=sink.name,
        sources=sink.sources,
        project=Path(settings.project),
        state=settings.storage.state / "sinks" / sink.name,
        out=out,
    )


class SinkRunner:
    """One sink of a project. Made anew for each start; methods may be called from any thread, one at a time."""

    def __init__(
        self,
        settings: Settings,
        sink: SinkSettings,
        *,
        out: TextIO | None = None,
    ) -> None:
        """out: where a sink that shows its changes writes them.

        Raises ConfigError, SinkError for options, hooks or a class that cannot be used; connects to nothing.
        """
        self._settings, self._sink = settings, sink
        self._context = context_of(settings, sink, out)
        self._status = SinkStatus()
        self._failure: BaseException | None = None
        self._paused = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._consumer(make_sink(sink, self._context))

    def start(self) -> None:
        """Begin, in a thread of its own; returns at once."""
        self._failure, self._paused = None, False
        self._stop = threading.Event()
        name = f"sink-{self._sink.name}"
        self._thread = threading.Thread(target=self._work, args=(self._stop,), name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what was gathered, store the checkpoint, let go of the lease; bounded by STOP_SECONDS. Idempotent."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_SECONDS)
            if thread.is_alive():
                log.warning("sink %s: its destination does not return; its thread is left behind", self._sink.name)

    def pause(self) -> None:
        """As `stop`; the sink says that it is paused. Another process may take it over."""
        self.stop()
        self._paused = True

    def resume(self) -> None:
        """Begin again, unless it runs."""
        if self._thread is None or not self._thread.is_alive():
            self.start()

    def failure(self) -> BaseException | None:
        """What ended the sink by itself, None while all is well or after `stop`."""
        return self._failure

    def status(self) -> Mapping[str, Any]:
        """The counts of `SinkStatus`, the kind and what the sink does now."""
        running = self._thread is not None and self._thread.is_alive()
        doing = "failed" if self._failure is not None else "paused" if self._paused else "stopped"
        if running:
            doing = "waiting" if self._status.down else "writing" if self._status.leads else "standing by"
        return {"kind": self._sink.kind, "doing": doing, **self._status.to_json()}

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self, stop: threading.Event) -> None:
        from differ.client.retries import Backoff

        backoff = Backoff(self._retries(), stop)
        while not stop.is_set():
            try:
                self._run(stop, backoff)
            except DifferError as error:
                if not self._passes(error):
                    self._failure = error
                    return
                log.warning("%s", told(self._sink.name, error.message))
                backoff.wait(error, bounded=False)
            except BaseException as error:
                self._failure = error
                log.exception("sink %s", self._sink.name)
                return
            finally:
                self._status.leads = False

    def _passes(self, error: DifferError) -> bool:
        """Whether trying again may help: something is down, or another process has the lease or opened the place."""
        from differ.sinks.consumer import TakenOverError

        if isinstance(error, ConsumerError) and self._status.down:
            return True  # The destination stayed away, and the run gave its lease up for another process to try.
        if error.transient:
            self._status.is_down(error)
        return error.transient or isinstance(error, FencedError | TakenOverError)

    def _run(self, stop: threading.Event, backoff: Any) -> None:
        """One run of the client, from joining the group to its end. Raises what ends it."""
        from differ.client.loop import Pace
        from differ.client.transport import Transport
        from differ.sinks.checkpoints import SinkCheckpoints

        sink = make_sink(self._sink, self._context)
        transport = Transport(self._settings.relay.reach, token=relay_token(self._settings))

        def loaded(checkpoint: Checkpoint | None) -> None:
            if (seconds := self._status.is_up()) is not None:
                log.info("sink %s: goes on, after %.0f s", self._sink.name, seconds)
            self._status.checkpoint = checkpoint
            self._status.leads = True
            backoff.reset()

        try:
            self._client().run(
                self._consumer(sink),
                name=consumer_name(self._sink.name),
                sources=self._sink.sources,
                ops=self._sink.filters.ops,
                group="exclusive",
                lease_seconds=self._sink.lease_seconds,
                checkpoints=SinkCheckpoints(sink, transport, consumer_name(self._sink.name), loaded=loaded),
                start=self._sink.start,
                bootstrap=self._sink.bootstrap,
                retries=self._retries(),
                pace=Pace(
                    checkpoint_events=self._sink.batch.events,
                    checkpoint_seconds=self._sink.batch.every_seconds,
                    batch_events=self._sink.batch.events,
                ),
                stop=stop,
            )
        finally:
            transport.close()
            sink.close()

    def _consumer(self, sink: Sink) -> Any:
        from differ.sinks.consumer import SinkConsumer
        from differ.sinks.letters import LetterBox, letters_of

        box = LetterBox(letters_of(self._settings.storage.state, self._sink.name), self._sink.name)
        return SinkConsumer(sink, self._sink, self._context.project, box=box, status=self._status)

    def _client(self) -> Client:
        from differ.client.client import Client

        return Client(self._settings.relay.reach, token=relay_token(self._settings))

    def _retries(self) -> Retries:
        from differ.client.retries import Retries

        retries = self._sink.retries
        return Retries(
            attempts=1,
            first_seconds=retries.first_seconds,
            most_seconds=retries.longest_seconds,
            give_up_after=retries.yield_seconds,
        )


def relay_token(settings: Settings) -> str | None:
    """The token that gives a sink its rights, None where none is needed."""
    tokens = settings.relay.tokens
    return tokens.consume or tokens.admin or tokens.read
