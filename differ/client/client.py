"""The client of a relay: read events as an iterator, in batches, or run a consumer that keeps checkpoints.

    client = Client("http://127.0.0.1:7070")
    for event in client.events(sources=["orders"], since=41): ...
    for events in client.batches(): events.to_pandas()
    client.run(Index(), name="index", sources=["orders"])

Iterators keep no checkpoint: whoever needs one keeps `events.cursor`. A run does, delivers at least once, and
can bootstrap. Invariant: nothing is skipped in silence; where events are gone the caller gets ScnTooOldError or a
bootstrap.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

from differ.client.checkpoints import CheckpointStore, FileCheckpoints, RelayCheckpoints
from differ.client.consumer import Consumer, check_consumer
from differ.client.deadletters import DeadLetters
from differ.client.events import Events
from differ.client.loop import Pace
from differ.client.positions import Alone, Positions
from differ.client.reading import Progress, Selection, place, read
from differ.client.retries import Backoff, Retries
from differ.client.run import Plan, Run, Start
from differ.client.transport import Transport
from differ.errors import UsageError
from differ.formats.checkpoint import StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.formats.partitions import Partitions
from differ.model import ChangeEvent

Since = int | Literal["oldest", "head"] | Cursor | StreamCheckpoint | str
"""Where reading begins: after an SCN, at the oldest event that is kept, at the head, or at a cursor (also as text)."""

PATIENCE = Retries(give_up_after=30.0)
"""How long iterators and single calls wait for a relay that is away."""


class Client:
    """Speaks to one relay; safe to share between threads. Nothing is sent before the first call.

    url: of the relay, such as http://127.0.0.1:7070. token: for relays that want one. retries: of iterators and single
    calls; `run` has its own.
    """

    def __init__(self, url: str, *, token: str | None = None, retries: Retries = PATIENCE) -> None:
        self._transport = Transport(url, token=token)
        self._retries = retries

    def head(self) -> int:
        """The SCN of the newest event, 0 before the first."""
        answer = self._transport.call("GET", "/v1/sources", backoff=self._backoff())
        return int(answer["head"])

    def sources(self) -> list[dict[str, Any]]:
        """What /v1/sources says of each source."""
        answer = self._transport.call("GET", "/v1/sources", backoff=self._backoff())
        found: list[dict[str, Any]] = answer["sources"]
        return found

    def events(
        self,
        sources: Sequence[str] | str = (),
        *,
        since: Since = "oldest",
        ops: Sequence[str] = (),
        partition: Partitions | str | None = None,
        follow: bool = False,
    ) -> Iterator[ChangeEvent]:
        """Events one by one, ascending by SCN; ends at the head, or never when `follow`. See `batches`."""
        for events in self.batches(sources, since=since, ops=ops, partition=partition, follow=follow):
            yield from events

    def batches(
        self,
        sources: Sequence[str] | str = (),
        *,
        since: Since = "oldest",
        ops: Sequence[str] = (),
        partition: Partitions | str | None = None,
        follow: bool = False,
    ) -> Iterator[Events]:
        """Events in batches of one source and window, ascending by SCN; ends at the head, or never when `follow`.

        sources, ops, partition: filters, empty or None for all; a partition is `i/n`. Resumes by itself where the
        network breaks. Raises ScnTooOldError, ScnAheadError, StreamChangedError, RelayUnavailableError when the relay
        stays away, UsageError for what makes no sense.
        """
        selection = Selection.of(sources, ops, partition)
        transport = self._transport.another()
        try:
            yield from self._read(transport, selection, since, self._backoff(), follow=follow)
        finally:
            transport.close()

    async def events_async(
        self,
        sources: Sequence[str] | str = (),
        *,
        since: Since = "oldest",
        ops: Sequence[str] = (),
        partition: Partitions | str | None = None,
        follow: bool = False,
    ) -> AsyncIterator[ChangeEvent]:
        """The same for asyncio: `async for event in client.events_async(...)`. A thread reads, a few batches ahead.

        Leave it early by `contextlib.aclosing`, which ends the thread at once.
        """
        from differ.client.asynchronous import batches_async

        selection = Selection.of(sources, ops, partition)
        transport = self._transport.another()
        stop = threading.Event()

        def items() -> Iterator[Events]:
            return self._read(transport, selection, since, Backoff(self._retries, stop), follow=follow)

        # Leaving a generator does not close the one that it iterates over.
        async with aclosing(batches_async(items, transport, stop)) as batches:
            async for events in batches:
                for event in events:
                    yield event

    def run(  # noqa: PLR0913
        self,
        consumer: Consumer,
        *,
        name: str,
        sources: Sequence[str] | str = (),
        ops: Sequence[str] = (),
        partition: Partitions | str | None = None,
        group: bool | Literal["exclusive"] = False,
        lease_seconds: float | None = None,
        checkpoints: CheckpointStore | str | Path | None = None,
        register: bool = True,
        workers: int = 1,
        start: Start = "bootstrap",
        bootstrap: Literal["auto", "never"] = "auto",
        until_head: bool = False,
        dead_letters: str | Path | DeadLetters | None = None,
        retries: Retries | None = None,
        pace: Pace | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Run a consumer until it is told to stop, or to the head when `until_head`. docs/consume.md tells all of it.

        name: the consumer's, under which its checkpoint is kept and the relay holds events for it. checkpoints: a
        file's path, or a store; None keeps them on the relay. register: whether the relay is told of checkpoints kept
        elsewhere. group: share the partitions with other processes of the same name, or with "exclusive" stand by
        until the eldest is gone; lease_seconds: how long one may be away before it loses its share. start: for a
        consumer without a checkpoint. dead_letters: a file for events that keep failing; without it the run halts.
        stop: set it to end the run after the event at hand.

        Raises ConsumerError when a callback keeps failing; a RelayError that a bootstrap does not mend, or may not;
        UsageError for options that make no sense.
        """
        check_consumer(consumer, name)
        stopping = stop if stop is not None else threading.Event()
        plan = Plan(
            name=name,
            selection=Selection.of(sources, ops, partition),
            start=start,
            may_bootstrap=bootstrap == "auto",
            until_head=until_head,
            workers=workers,
            retries=retries if retries is not None else Retries(),
            pace=pace if pace is not None else Pace(),
            dead_letters=DeadLetters(dead_letters) if isinstance(dead_letters, str | Path) else dead_letters,
        )
        _check(plan)
        transport = self._transport.another()
        if group:
            positions = self._member(transport, plan, group, checkpoints, lease_seconds, stopping)
        else:
            positions = self._alone(transport, plan, checkpoints, register, stopping)
        Run(consumer, transport, positions, plan, stopping).go()

    def _alone(
        self,
        transport: Transport,
        plan: Plan,
        checkpoints: CheckpointStore | str | Path | None,
        register: bool,
        stop: threading.Event,
    ) -> Positions:
        def on_relay(backoff: Backoff | None) -> RelayCheckpoints:
            return RelayCheckpoints(transport, plan.name, sources=plan.selection.sources, backoff=backoff)

        if checkpoints is None:
            return Alone(on_relay(Backoff(plan.retries, stop)), plan.selection.partition, None)
        store = FileCheckpoints(checkpoints) if isinstance(checkpoints, str | Path) else checkpoints
        if not (callable(getattr(store, "load", None)) and callable(getattr(store, "save", None))):
            raise UsageError(
                f"run consumer {plan.name}: checkpoints={store!r} is no store", hint="a path, or load() and save()"
            )
        reports = on_relay(None) if register and not isinstance(store, RelayCheckpoints) else None
        return Alone(store, plan.selection.partition, reports)

    def _member(
        self,
        transport: Transport,
        plan: Plan,
        group: bool | Literal["exclusive"],
        checkpoints: CheckpointStore | str | Path | None,
        lease_seconds: float | None,
        stop: threading.Event,
    ) -> Positions:
        from differ.client.membership import Membership
        from differ.client.reading import ask
        from differ.client.sharing import Shared

        is_exclusive = group == "exclusive"
        if not is_exclusive and group is not True:
            raise UsageError(f"run consumer {plan.name}: group={group!r}", hint='True, False or "exclusive"')
        if plan.selection.partition is not None:
            raise UsageError(
                f"run consumer {plan.name}: a group shares the partitions out itself", hint="leave out partition="
            )
        if isinstance(checkpoints, str | Path) or (checkpoints is not None and not is_exclusive):
            raise UsageError(
                f"run consumer {plan.name}: a group keeps its checkpoints where all its members find them",
                hint="leave out checkpoints=, or with group='exclusive' give a store in the destination",
            )
        whole = Selection(sources=plan.selection.sources, ops=plan.selection.ops)
        backoff = Backoff(plan.retries, stop)

        def seat() -> Membership:
            return Membership(
                transport,
                plan.name,
                sources=whole.sources,
                exclusive=is_exclusive,
                lease_seconds=lease_seconds,
            )

        return Shared(
            seat,
            verify=lambda cursor: ask(transport, whole, cursor, backoff=backoff),
            backoff=backoff,
            stop=stop,
            until_head=plan.until_head,
            store=checkpoints,
        )

    def _read(
        self, transport: Transport, selection: Selection, since: Since, backoff: Backoff, *, follow: bool
    ) -> Iterator[Events]:
        for item in read(transport, selection, self._since(since, selection), backoff=backoff, until_head=not follow):
            if not isinstance(item, Progress):
                yield Events(item.batch, item.cursor)

    def _since(self, since: Since, selection: Selection) -> Cursor | int:
        if isinstance(since, Cursor | int):
            return since
        if isinstance(since, StreamCheckpoint):
            return since.cursor
        if since in ("oldest", "head"):
            return place(self._transport, selection, since, backoff=self._backoff())
        return Cursor.parse(since)

    def _backoff(self) -> Backoff:
        return Backoff(self._retries, threading.Event())


def _check(plan: Plan) -> None:
    if not plan.name:
        raise UsageError("run consumer: it has no name", hint="name='...', under which its checkpoint is kept")
    if plan.workers < 1:
        raise UsageError(f"run consumer {plan.name}: workers={plan.workers}", hint="at least 1")
    if plan.start == "bootstrap" and not plan.may_bootstrap:
        raise UsageError(
            f"run consumer {plan.name}: it should start by a bootstrap and may not",
            hint="with bootstrap='never' say where to start: start='oldest', 'head' or an SCN",
        )
    if not (plan.start in ("bootstrap", "oldest", "head") or (isinstance(plan.start, int) and plan.start >= 0)):
        raise UsageError(
            f"run consumer {plan.name}: start={plan.start!r}", hint='"bootstrap", "oldest", "head" or an SCN'
        )
