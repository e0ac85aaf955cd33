"""The file of dead letters: listed, replayed, dropped; whole after a crash, and used by several at once."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from differ.client import Client, Consumer, DeadLetters, Events, FileCheckpoints, Next, Retries
from differ.errors import CorruptionError, StorageError, UsageError
from differ.model import ChangeEvent
from tests.client.recorder import Recorder
from tests.cycle.world import World, numbered
from tests.server.relay import Relay


@pytest.fixture
def relay(world: World, serve: Callable[..., Relay]) -> Relay:
    world.fed("orders")
    world.commit("orders", numbered(*range(10)))
    return serve()


@pytest.fixture
def letters(relay: Relay, tmp_path: Path) -> DeadLetters:
    """Letters 1, 2, 3 of the SCNs 2, 5, 8; a checkpoint at 10."""

    def act(event: ChangeEvent) -> Next | None:
        if event.scn in (2, 5, 8):
            raise KeyError("status")
        return None

    found = DeadLetters(tmp_path / "letters.jsonl")
    Client(relay.url).run(
        Recorder(act), name="index", start="oldest", until_head=True, dead_letters=found,
        checkpoints=tmp_path / "c.json", retries=Retries(attempts=1),
    )  # fmt: skip
    return found


def numbers(letters: DeadLetters) -> list[int]:
    return [letter.number for letter in letters.pending()]


def test_a_letter_is_a_line_that_people_can_read(letters: DeadLetters) -> None:
    body = json.loads(letters.path.read_text().splitlines()[1])
    assert body["consumer"] == "index"
    assert (body["scn"], body["source"], body["key"], body["attempts"]) == (5, "orders", {"id": 5}, 1)
    assert body["error"] == "KeyError: 'status'"
    assert body["event"]["after"] == {"id": 5, "v": 4}
    assert letters.pending()[1].to_json() == {
        "number": 2,
        **{k: v for k, v in body.items() if k not in ("check", "frame")},
    }


def test_a_replay_settles_what_works_and_keeps_the_rest(letters: DeadLetters, tmp_path: Path) -> None:
    def act(event: ChangeEvent) -> Next | None:
        if event.scn == 5:
            raise ValueError("still")
        return None

    consumer, store = Recorder(act), FileCheckpoints(tmp_path / "c.json")
    replayed = letters.replay(consumer, checkpoints=store)
    assert (replayed.done, replayed.failed) == ((1, 3), {2: "ValueError: still"})
    assert consumer.calls == [
        ("start", None), ("event", 2), ("checkpoint", 10), ("event", 5), ("event", 8), ("checkpoint", 10),
        ("stop", None),
    ]  # fmt: skip
    assert numbers(letters) == [2]
    found = store.load()
    assert found is not None
    assert found.cursor.scn == 10
    again = letters.replay(Recorder())
    assert (again.done, again.failed) == ((2,), {})
    assert letters.path.read_bytes() == b""


def test_a_replay_gives_batches_to_who_takes_batches(letters: DeadLetters) -> None:
    taken: list[int] = []

    class Batches(Consumer):
        def on_events(self, events: Events) -> Next | None:
            taken.extend(events.to_arrow().column("scn").to_pylist())
            return None

    letters.replay(Batches(), numbers=[3, 1])
    assert taken == [2, 8]
    assert numbers(letters) == [2]


def test_letters_are_dropped_by_number(letters: DeadLetters) -> None:
    with pytest.raises(UsageError, match="number 4, 9 is not pending"):
        letters.drop([1, 4, 9])
    assert numbers(letters) == [1, 2, 3]
    assert [letter.scn for letter in letters.drop([2])] == [5]
    assert numbers(letters) == [1, 3]
    with pytest.raises(UsageError):
        letters.replay(Recorder(), [2])
    assert len(letters.drop()) == 2
    assert letters.drop() == []
    assert letters.path.read_bytes() == b""


def test_a_torn_line_is_no_letter_and_is_cut_off(letters: DeadLetters) -> None:
    whole = letters.path.read_bytes()
    for torn in (b"{", whole[: len(whole) // 4], b'{"done": 1'):
        letters.path.write_bytes(whole + torn)
        assert numbers(letters) == [1, 2, 3]
        letters.drop([1])
        assert numbers(letters) == [2, 3]
        assert letters.path.read_bytes().startswith(whole)


def test_a_damaged_line_is_an_error_that_names_it(letters: DeadLetters) -> None:
    lines = letters.path.read_bytes().splitlines(keepends=True)
    letters.path.write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(CorruptionError, match=r"letters\.jsonl: line 2"):
        letters.pending()


def test_no_file_is_no_letter(tmp_path: Path) -> None:
    assert DeadLetters(tmp_path / "none.jsonl").pending() == []


def test_a_file_that_cannot_be_written_ends_nothing_in_silence(relay: Relay, tmp_path: Path) -> None:
    def act(event: ChangeEvent) -> Next | None:
        raise ValueError

    with pytest.raises(StorageError, match="dead letters"):
        Client(relay.url).run(
            Recorder(act),
            name="index",
            start="oldest",
            until_head=True,
            dead_letters=tmp_path,
            retries=Retries(attempts=1),
        )


def test_several_writers_do_not_mix_their_lines(letters: DeadLetters) -> None:
    event = letters.pending()[0].events()

    def write() -> None:
        for _ in range(20):
            DeadLetters(letters.path).add("another", event, ValueError("x"), 1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(letters) == list(range(1, 84))
