"""What repair takes away, and that it takes nothing that something else is built on."""

from pathlib import Path

from differ.client.deadletters import DeadLetters
from differ.client.events import Events
from differ.cycle.check import Finding
from differ.formats.cursor import GENESIS_CHAIN, Cursor
from tests.cycle.conftest import world
from tests.cycle.world import DELTAS, World, numbered

__all__ = ["world"]


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))


def mended(world: World) -> list[Finding]:
    """Check, repair, check again: all must be well then. Returns what was found at first."""
    world.close()
    findings = world.project.check(read_data=True)
    quarantine = world.project.repair(world.project.plan_repair(findings))
    assert quarantine.is_dir()
    assert world.project.check(read_data=True) == []
    return findings


def test_an_older_snapshot_goes_without_what_later_ones_are_built_on(world: World) -> None:
    world.fed("orders", numbered(*"abcdef"), snapshots=DELTAS)
    for value in "xyz":
        world.commit("orders", numbered(value, *"bcdef"))
    first = min((world.folder / "snapshots" / "orders").iterdir())
    flip(first / "manifest.json")
    (finding,) = mended(world)
    assert (finding.part, finding.cycle) == ("snapshot", 1)
    assert world.state("orders") == {(1,): {"id": 1, "v": "z"}} | {
        (number,): {"id": number, "v": value} for number, value in enumerate("bcdef", start=2)
    }
    world.verify("orders")
    world.commit("orders", numbered(*"12345"))
    world.verify("orders")


def test_a_base_that_all_are_built_on_takes_all_of_them_along(world: World) -> None:
    world.fed("orders", numbered(*"abc"), snapshots=DELTAS)
    world.commit("orders")
    world.commit("orders", numbered(*"xbc"))
    flip(next((world.folder / "snapshots" / "orders").glob("*/part-00000.parquet")))
    assert {finding.cycle for finding in mended(world)} == {1, 2}
    assert world.commit("orders").status == "committed"
    assert world.project.catalog.source("orders").floor_number > 0  # type: ignore[union-attr]


def test_a_held_cycle_is_no_better_than_its_events(world: World) -> None:
    world.fed("orders", numbered(*"abcdefghijklmno"), guards={"deletes": "1%"})
    world.commit("orders")
    assert world.scan("orders", numbered("a", "b")).status == "held"
    flip(next((world.folder / ".differ" / "segments" / "orders").glob("cycle-00000002-*")))
    assert [finding.part for finding in mended(world)] == ["held"]
    assert world.scan("orders").status == "held"


def test_keys_whose_waiting_is_forgotten_wait_anew(world: World) -> None:
    world.fed("orders", numbered(*"abc"))
    world.feed("orders").consistent = False
    world.commit("orders")
    assert world.commit("orders", numbered(*"abc")[1:]).waiting_deletes == 1
    flip(next((world.folder / ".differ" / "absent" / "orders").iterdir()))
    assert [finding.part for finding in mended(world)] == ["absent"]
    assert world.commit("orders").waiting_deletes == 1
    assert world.commit("orders").deletes == 1


def test_damaged_dead_letters_are_named_and_put_away(world: World) -> None:
    world.fed("orders", numbered(*"abc"))
    world.commit("orders")
    letters = DeadLetters(world.folder / ".differ" / "dead-letters" / "search.jsonl")
    (batch,) = world.project.event_batches("orders")
    cursor = Cursor(stream=batch.stream, scn=3, chain=GENESIS_CHAIN, floors=0)
    letters.add("search", Events(batch.slice(0, 1), cursor), ValueError("no"), 1)
    assert world.project.check() == []
    flip(letters.path)
    (finding,) = mended(world)
    assert (finding.part, finding.path, "line 1" in finding.problem) == ("dead letters", letters.path, True)
    assert letters.pending() == []
