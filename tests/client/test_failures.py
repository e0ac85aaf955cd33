"""Callbacks that fail: which event is at fault is found out, it becomes a dead letter, and all others are processed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from differ.client import (
    Checkpoint,
    Client,
    Consumer,
    DeadLetters,
    Events,
    FileCheckpoints,
    Next,
    Pace,
    Reject,
    Retries,
)
from differ.errors import ConsumerError, RelayUnavailableError, StorageError
from differ.model import ChangeEvent
from tests.client.recorder import Recorder
from tests.cycle.world import World, numbered
from tests.server.relay import Relay

QUICK = Retries(attempts=3, first_seconds=0.001, most_seconds=0.01)
POISON = {7, 23, 24, 40}


@pytest.fixture
def relay(world: World, serve: Callable[..., Relay]) -> Relay:
    """One source, events 1..50 in two windows."""
    world.fed("orders")
    world.commit("orders", numbered(*range(30)))
    world.commit("orders", numbered(*range(50)))
    return serve()


class Batches(Consumer):
    """Takes batches, and writes what it took at checkpoints; refuses poison in one place or the other."""

    def __init__(self, refuses: str) -> None:
        self.refuses, self.written = refuses, list[int]()
        self.buffer: list[int] = []
        self.sizes: list[int] = []
        self.errors: list[int | None] = []

    def _check(self, place: str, scns: list[int]) -> None:
        if place == self.refuses and POISON.intersection(scns):
            raise ValueError("poison")

    def on_events(self, events: Events) -> Next | None:
        scns = [event.scn for event in events]
        self.sizes.append(len(scns))
        self._check("events", scns)
        self.buffer += scns
        return None

    def on_checkpoint(self, checkpoint: Checkpoint) -> Next | None:
        self._check("checkpoint", self.buffer)
        self.written += self.buffer
        self.buffer = []
        return None

    def on_rollback(self, checkpoint: Checkpoint) -> Next | None:
        self.buffer = []
        return None

    def on_error(self, error: Exception, event: ChangeEvent | None) -> Next | None:
        self.errors.append(event.scn if event else None)
        return None


def run(relay: Relay, consumer: Consumer, **options: Any) -> None:
    Client(relay.url).run(
        consumer, **{"name": "index", "start": "oldest", "until_head": True, "retries": QUICK, **options}
    )


def test_events_that_keep_failing_become_dead_letters(relay: Relay, tmp_path: Path) -> None:
    def act(event: ChangeEvent) -> Next | None:
        if event.scn in POISON:
            raise ValueError("poison")
        return None

    consumer, letters = Recorder(act), DeadLetters(tmp_path / "letters" / "index.jsonl")
    run(relay, consumer, dead_letters=letters.path)
    assert [(one.scn, one.attempts, one.error, one.source) for one in letters.pending()] == [
        (scn, 3, "ValueError: poison", "orders") for scn in sorted(POISON)
    ]
    assert {scn: consumer.scns.count(scn) for scn in POISON} == dict.fromkeys(POISON, 3)
    assert set(consumer.scns) == set(range(1, 51))
    assert relay.get("/v1/consumers/index").json["scn"] == 50
    event = letters.pending()[0].event
    assert (event["scn"], event["op"], event["key"], event["after"]["v"]) == (7, "insert", {"id": 7}, 6)
    (again,) = letters.pending()[0].events()
    assert again == next(event for event in consumer.events if event.scn == 7)


@pytest.mark.parametrize(("refuses", "workers"), [("events", 1), ("events", 3), ("checkpoint", 1)])
def test_the_event_at_fault_is_found_in_a_batch(relay: Relay, tmp_path: Path, refuses: str, workers: int) -> None:
    consumer, letters = Batches(refuses), DeadLetters(tmp_path / "index.jsonl")
    run(relay, consumer, dead_letters=letters, workers=workers)
    assert sorted(one.scn for one in letters.pending()) == sorted(POISON)
    assert sorted(set(consumer.written)) == sorted(set(range(1, 51)) - POISON)
    assert workers > 1 or consumer.written == sorted(consumer.written)
    assert set(consumer.errors) - {None} == POISON


def test_without_dead_letters_the_run_halts_at_the_event(relay: Relay) -> None:
    consumer = Batches("checkpoint")
    with pytest.raises(
        ConsumerError, match="on_checkpoint failed 3 times at SCN 7 of orders, key 7: ValueError: poison"
    ):
        run(relay, consumer)
    assert consumer.written == [1, 2, 3, 4, 5, 6]


def test_what_is_rejected_is_given_up_at_once(relay: Relay, tmp_path: Path) -> None:
    class Rejects(Recorder):
        def on_checkpoint(self, checkpoint: Checkpoint) -> Next | None:
            super().on_checkpoint(checkpoint)
            bad = [event for event in self.events if event.scn in POISON]
            self.events = [event for event in self.events if event.scn not in POISON]
            if bad:
                raise Reject([(event, "too long") for event in bad])
            return None

    letters = DeadLetters(tmp_path / "index.jsonl")
    consumer = Rejects()
    run(relay, consumer, dead_letters=letters)
    assert [(one.scn, one.attempts) for one in letters.pending()] == [(scn, 1) for scn in sorted(POISON)]
    assert all("too long" in one.error for one in letters.pending())
    assert [consumer.of("event").count(scn) for scn in sorted(POISON)] == [1] * len(POISON)
    with pytest.raises(ConsumerError, match="too long"):
        run(relay, Rejects(), name="another")


def test_on_error_may_let_an_event_go_or_end_the_run(relay: Relay) -> None:
    class Lenient(Recorder):
        answer = Next.SKIP

        def on_error(self, error: Exception, event: ChangeEvent | None) -> Next | None:
            super().on_error(error, event)
            return self.answer

    def act(event: ChangeEvent) -> Next | None:
        if event.scn in POISON:
            raise ValueError("poison")
        return None

    consumer = Lenient(act)
    run(relay, consumer)
    assert {scn: consumer.scns.count(scn) for scn in POISON} == dict.fromkeys(POISON, 1)
    assert consumer.of("checkpoint")[-1] == 50
    ending = Lenient(act)
    ending.answer = Next.STOP
    run(relay, ending, name="another", pace=Pace(checkpoint_events=5))
    assert (ending.scns, ending.of("checkpoint"), ending.of("rollback")) == ([1, 2, 3, 4, 5, 6, 7], [5], [5])


@pytest.mark.parametrize("callback", ["on_window_start", "on_window_end", "on_rollback", "on_error"])
def test_callbacks_of_no_event_end_the_run_and_blame_none(relay: Relay, tmp_path: Path, callback: str) -> None:
    consumer = Recorder(lambda event: Next.CHECKPOINT if event.scn == 30 else _fail() if event.scn == 35 else None)

    def broken(*arguments: object) -> None:
        raise OSError("broken")

    setattr(consumer, callback, broken)
    letters = DeadLetters(tmp_path / "index.jsonl")
    with pytest.raises(ConsumerError, match=f"{callback} failed.*OSError: broken"):
        run(relay, consumer, dead_letters=letters)
    assert letters.pending() == []
    assert consumer.calls[-1] == ("stop", None)


def _fail() -> None:
    raise ValueError("once")


def test_what_a_callback_returns_must_make_sense(relay: Relay) -> None:
    with pytest.raises(ConsumerError, match="returned bool, not None or a Next"):
        run(relay, Recorder(lambda event: True))  # type: ignore[arg-type, return-value]


def test_a_transient_error_counts_as_no_attempt(relay: Relay, tmp_path: Path) -> None:
    left = [None] * 8

    def act(event: ChangeEvent) -> Next | None:
        if event.scn == 7 and left:
            left.pop()
            raise RelayUnavailableError("the index is away")
        return None

    consumer, letters = Recorder(act), DeadLetters(tmp_path / "index.jsonl")
    run(relay, consumer, dead_letters=letters)
    assert letters.pending() == []
    assert consumer.scns.count(7) == 9


def test_a_checkpoint_that_cannot_be_stored_is_tried_again(relay: Relay, tmp_path: Path) -> None:
    class Full(FileCheckpoints):
        failures = 4

        def save(self, checkpoint: Checkpoint) -> None:
            if self.failures and checkpoint.cursor.scn:
                self.failures -= 1
                raise StorageError("disk full")
            super().save(checkpoint)

    store, consumer = Full(tmp_path / "c.json"), Recorder()
    run(relay, consumer, checkpoints=store)
    found = store.load()
    assert found is not None
    assert found.cursor.scn == 50
    assert consumer.scns == list(range(1, 51)) * 5


def test_a_store_that_is_broken_ends_the_run(relay: Relay, tmp_path: Path) -> None:
    class Broken(FileCheckpoints):
        def save(self, checkpoint: Checkpoint) -> None:
            raise ZeroDivisionError

    with pytest.raises(ConsumerError, match="storing the checkpoint failed: ZeroDivisionError"):
        run(relay, Recorder(), checkpoints=Broken(tmp_path / "c.json"))
