"""A sink that runs: it follows, bootstraps, waits for what is down, puts aside what is refused, and stands by."""

import logging

import pytest

from differ.client import DeadLetters
from differ.errors import BusyError, SinkError
from differ.sinks.replay import replay_letters
from tests.cycle.world import numbered
from tests.server.eventually import eventually
from tests.sinks.rig import MEMORY, Rig


def test_it_bootstraps_and_follows(rig: Rig) -> None:
    rig.world.commit("orders", numbered("a", "b", "c"))
    sink = rig.sink()
    rig.place(sink).rows = {("orders", "(77,)"): {"id": 77, "v": "stale"}}
    runner = rig.start(sink)
    rig.until_head(runner)
    assert rig.place(sink).state("orders") == numbered("a", "b", "c")
    rig.world.commit("orders", numbered("a", "B", first=1))
    rig.until_head(runner)
    assert rig.place(sink).state("orders") == numbered("a", "B")
    assert runner.status()["bootstraps"] == 1
    assert runner.status()["doing"] == "writing"


def test_it_goes_on_where_it_stood(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1, 2))
    sink = rig.sink(start="oldest")
    first = rig.start(sink)
    rig.until_head(first)
    first.stop()
    assert first.status()["doing"] == "stopped"
    rig.world.commit("orders", numbered(1, 3, 4))
    before = len(rig.place(sink).writes)
    second = rig.start(sink)
    rig.until_head(second)
    assert rig.place(sink).state("orders") == numbered(1, 3, 4)
    assert sum(rig.place(sink).writes[before:]) == 2
    assert second.status()["bootstraps"] == 0


@pytest.mark.parametrize("state", ["streaming", "bootstrapping"])
def test_a_destination_that_is_down_is_waited_for(rig: Rig, state: str, caplog: pytest.LogCaptureFixture) -> None:
    """However often it is tried: nothing is lost, and another sink is not held up. The log tells when it is back."""
    caplog.set_level(logging.INFO, "differ")
    rig.world.commit("orders", numbered(1, 2, 3))
    sink = rig.sink(start="oldest" if state == "streaming" else "bootstrap")
    other = rig.sink("other", start="oldest")
    place = rig.place(sink)
    place.down = True
    runner, beside = rig.start(sink), rig.start(other)
    rig.until_head(beside)
    eventually(lambda: place.attempts > 25)
    assert runner.failure() is None
    assert runner.status()["doing"] == "waiting"
    assert "the place is down" in str(runner.status()["down"])
    rig.world.commit("orders", numbered(1, 5))
    place.down = False
    rig.until_head(runner)
    assert place.state("orders") == numbered(1, 5)
    assert runner.status()["down"] is None
    assert any(message.startswith("sink search: ") and ", after " in message for message in caplog.messages)
    assert not any("sink search: sink search: " in message for message in caplog.messages)
    assert rig.place(other).state("orders") == numbered(1, 5)


def test_it_goes_down_in_the_middle(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1))
    sink = rig.sink()
    place = rig.place(sink)
    runner = rig.start(sink)
    rig.until_head(runner)
    place.down = True
    rig.world.commit("orders", numbered(2, 3))
    eventually(lambda: place.attempts > 20)
    rig.world.commit("orders", numbered(4, 3))
    place.down = False
    rig.until_head(runner)
    assert place.state("orders") == numbered(4, 3)
    assert runner.failure() is None


def test_a_relay_that_is_away_is_waited_for(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1))
    sink = rig.sink()
    address = rig.url
    rig.relay.stop()
    runner = rig.start(sink)
    eventually(lambda: runner.status()["down"] or runner.failure())
    assert runner.failure() is None
    assert address in str(runner.status()["down"])


@pytest.mark.parametrize("names_refused", [True, False], ids=["named", "found by halving"])
@pytest.mark.parametrize("start", ["oldest", "bootstrap"])
def test_a_refused_record_becomes_a_dead_letter(rig: Rig, names_refused: bool, start: str) -> None:
    rig.world.commit("orders", numbered(*range(1, 200)))
    sink = rig.sink(start=start)
    place = rig.place(sink)
    place.names_refused = names_refused
    place.refuses = lambda change: change.document is not None and change.document["v"] in (17, 18, 140)
    runner = rig.start(sink)
    rig.until_head(runner)
    assert place.state("orders") == sorted(
        (row for row in numbered(*range(1, 200)) if row["v"] not in (17, 18, 140)), key=lambda row: repr((row["id"],))
    )
    letters = DeadLetters(rig.world.folder / ".differ" / "dead-letters" / "search.jsonl")
    assert [(letter.key, letter.source) for letter in letters.pending()] == [
        ({"id": v}, "orders") for v in (17, 18, 140)
    ]
    assert all("ugly" in letter.error for letter in letters.pending())
    assert runner.status()["refused"] == 3


def test_a_refused_record_halts_where_that_is_asked_for(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1, 2, 3))
    sink = rig.sink(start="oldest", refused={"action": "halt"})
    place = rig.place(sink)
    place.refuses = lambda change: change.scn == 2
    runner = rig.start(sink)
    eventually(runner.failure)
    error = runner.failure()
    assert isinstance(error, SinkError)
    assert "sink search: orders SCN 2" in error.message
    assert place.checkpoint is None or place.checkpoint.cursor.scn < 2
    place.refuses = lambda change: False
    runner.resume()
    rig.until_head(runner)
    assert place.state("orders") == numbered(1, 2, 3)


def test_too_many_refused_records_are_not_the_records(rig: Rig) -> None:
    rig.world.commit("orders", numbered(*range(50)))
    sink = rig.sink(start="oldest", refused={"most": 10})
    place = rig.place(sink)
    place.refuses = lambda change: True
    runner = rig.start(sink)
    eventually(runner.failure)
    assert "more than 10 records of one batch are refused" in str(runner.failure())
    assert not (rig.world.folder / ".differ" / "dead-letters" / "search.jsonl").exists()


def test_what_a_person_must_mend_stops_only_this_sink(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1))
    sink, other = rig.sink(start="oldest"), rig.sink("other")

    def broken(call: str) -> None:
        if call == "apply":
            raise SinkError("write: there is no such table")

    rig.place(sink).fault = broken
    runner, beside = rig.start(sink), rig.start(other)
    rig.until_head(beside)
    eventually(runner.failure)
    assert "no such table" in str(runner.failure())
    assert runner.status()["doing"] == "failed"


def test_one_of_two_processes_writes_and_the_other_stands_by(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1))
    sink = rig.sink(lease="1s")
    first = rig.start(sink)
    rig.until_head(first)
    second = rig.start(sink)
    rig.world.commit("orders", numbered(2))
    rig.until_head(first)
    assert second.status()["doing"] == "standing by"
    assert rig.place(sink).epoch == 1, "a process that stands by opened the destination"
    first.stop()
    rig.world.commit("orders", numbered(3))
    rig.until_head(second)
    assert rig.place(sink).state("orders") == numbered(3)


def test_whoever_is_fenced_begins_again(rig: Rig) -> None:
    """Somebody opened the destination past the lease: whoever has the lease takes it over again."""
    rig.world.commit("orders", numbered(1))
    sink = rig.sink()
    runner = rig.start(sink)
    rig.until_head(runner)
    rig.place(sink).epoch += 1
    rig.world.commit("orders", numbered(2))
    rig.until_head(runner)
    assert rig.place(sink).state("orders") == numbered(2)


def test_pause_and_resume(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1))
    sink = rig.sink()
    runner = rig.start(sink)
    rig.until_head(runner)
    runner.pause()
    assert runner.status()["doing"] == "paused"
    rig.world.commit("orders", numbered(2))
    assert rig.place(sink).state("orders") == numbered(1)
    runner.resume()
    rig.until_head(runner)
    assert rig.place(sink).state("orders") == numbered(2)


def test_a_sink_that_was_reset_begins_anew(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1, 2))
    sink = rig.sink()
    runner = rig.start(sink)
    rig.until_head(runner)
    rig.place(sink).rows[("orders", "(9,)")] = {"id": 9, "v": "by hand"}
    assert rig.world.project.consumers.reset("sink.search")
    eventually(lambda: runner.status()["bootstraps"] == 2)
    rig.until_head(runner)
    assert rig.place(sink).state("orders") == numbered(1, 2)


def test_events_go_in_order_and_keep_their_checkpoint_on_the_relay(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1, 2))
    sink = rig.sink(kind=f"{MEMORY}Events", start="oldest", batch={"events": 3})
    runner = rig.start(sink)
    rig.world.commit("orders", numbered(1, 3, 4))
    rig.world.commit("orders", numbered(5))
    rig.until_head(runner)
    runner.stop()
    rig.world.commit("orders", numbered(6))
    again = rig.start(sink)
    rig.until_head(again)
    assert [change.scn for change in rig.place(sink).events] == list(range(1, 9))
    again.stop()
    entry = rig.world.project.consumers.get("sink.search")
    assert entry is not None
    assert entry.scn == 8


def test_filters_by_operation(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1, 2))
    sink = rig.sink(kind=f"{MEMORY}Events", start="oldest", filters={"ops": ["delete"]})
    runner = rig.start(sink)
    rig.world.commit("orders", numbered(1))
    rig.until_head(runner)
    assert [(change.op, change.key["id"]) for change in rig.place(sink).events] == [("delete", 2)]


# -- dead letters -----------------------------------------------------------------------------------------------------


def test_dead_letters_are_replayed_unless_superseded(rig: Rig) -> None:
    rig.world.commit("orders", numbered(1, 2, 3, 4))
    sink = rig.sink(start="oldest")
    place = rig.place(sink)
    place.refuses = lambda change: change.key["id"] in (1, 2, 3)
    runner = rig.start(sink)
    rig.until_head(runner)
    place.refuses = lambda change: False
    rig.world.commit("orders", [{"id": 1, "v": 10}, {"id": 2, "v": 2}, {"id": 4, "v": 4}])
    rig.until_head(runner)
    letters = DeadLetters(rig.world.folder / ".differ" / "dead-letters" / "search.jsonl")
    settings = rig.settings_with(sink)
    with pytest.raises(BusyError, match="sink search runs"):
        replay_letters(settings, "search", letters)
    assert len(letters.pending()) == 3
    runner.stop()
    place.refuses = lambda change: change.key["id"] == 2
    replayed = replay_letters(settings, "search", letters)
    assert replayed.superseded == {1: 6, 3: 5}, "1 was updated and 3 deleted since"
    assert list(replayed.failed) == [2]
    assert "ugly" in replayed.failed[2]
    assert place.state("orders") == [{"id": 1, "v": 10}, {"id": 4, "v": 4}]
    place.refuses = lambda change: False
    assert replay_letters(settings, "search", letters).done == (2,)
    assert place.state("orders") == [{"id": 1, "v": 10}, {"id": 2, "v": 2}, {"id": 4, "v": 4}]
    assert letters.pending() == []
    again = rig.start(sink)
    rig.until_head(again)
    assert again.status()["upserts"] == 0, "the replay moved no checkpoint"


# -- mapping and hooks ------------------------------------------------------------------------------------------------


def hook(rig: Rig, text: str) -> None:
    (rig.world.folder / "mapping.py").write_text(text)


def test_mapping_and_hooks(rig: Rig) -> None:
    hook(
        rig,
        "def before(row, event):\n"
        "    return None if row['v'] < 0 else row | {'double': row['v'] * 2}\n"
        "def after(document, event):\n"
        "    document['seen'] = event.source\n"
        "    return document\n",
    )
    rig.world.commit("orders", numbered(1, -2, 3))
    hooks = {"before": "mapping.py:before", "after": "mapping.py:after"}
    mapping = {"rename": {"id": "number"}, "nest": {"v": "value.is"}, "constants": {"kind": "order"}}
    sink = rig.sink(hooks=hooks, mapping=mapping)
    runner = rig.start(sink)
    rig.until_head(runner)

    def document(number: int, value: int) -> dict[str, object]:
        return {"number": number, "value": {"is": value}, "double": value * 2, "kind": "order", "seen": "orders"}

    assert rig.place(sink).state("orders") == [document(1, 1), document(3, 3)]
    assert runner.status()["unmapped"] == 1
    rig.world.commit("orders", numbered(-1, 2, 4))
    rig.until_head(runner)
    assert rig.place(sink).state("orders") == [document(2, 2), document(3, 4)], "1 has no place any more"
    assert runner.status()["unmapped"] == 2


def test_a_hook_that_raises_refuses_the_record(rig: Rig) -> None:
    hook(rig, "def after(document, event):\n    return {**document, 'x': 1 // document['v']}\n")
    rig.world.commit("orders", numbered(0, 1))
    sink = rig.sink(hooks={"after": "mapping.py:after"})
    runner = rig.start(sink)
    rig.until_head(runner)
    assert [row["id"] for row in rig.place(sink).state("orders")] == [2]
    (letter,) = DeadLetters(rig.world.folder / ".differ" / "dead-letters" / "search.jsonl").pending()
    assert "ZeroDivisionError" in letter.error
    assert "mapping.py:2" in letter.error


def test_a_mapping_that_cannot_serve_stops_the_sink(rig: Rig) -> None:
    rig.world.commit("orders", [{"id": 1, "v": 1, "w": 2}])
    runner = rig.start(rig.sink(mapping={"rename": {"v": "w"}}))
    eventually(runner.failure)
    assert "column 'v' and column 'w' both give the field 'w'" in str(runner.failure())
