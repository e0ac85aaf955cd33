"""What waits for a person is neither thrown away nor committed in part, and what was asked for is not forgotten."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from differ.cycle import place
from differ.errors import HeldError
from differ.records import canonical, fingerprints
from differ.records.types import Schema
from tests.cycle.world import DELTAS, OPEN, World, numbered

STRICT = {"deletes": 0, "rows": {"min": 1}}


@pytest.fixture
def shop(world: World) -> World:
    """Two tables that are committed as one window."""
    for table in ("a", "b"):
        world.sql(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v); INSERT INTO {table} VALUES (1, 1), (2, 2)")
        world.table(table, guards=STRICT)
    world.settings["consistency_groups"] = {"shop": {"sources": ["a", "b"]}}
    world.close()
    world.commit("a")
    return world


def test_a_new_base_is_not_made_over_what_is_held(world: World) -> None:
    world.fed("orders", numbered(*range(20)), guards=STRICT)
    world.commit("orders")
    held = world.scan("orders", numbered(*range(5)))
    with pytest.raises(HeldError, match=f"cycle {held.cycle} is held"):
        world.project.compact("orders")
    assert [result.deletes for result in world.project.approve("orders", hash=held.hash)] == [15]
    world.verify("orders")
    assert world.project.compact("orders").status == "committed"


def test_a_window_of_which_a_part_was_superseded_is_not_approved(shop: World) -> None:
    shop.sql("DELETE FROM a; UPDATE b SET v = 3")
    assert shop.scan("a").status == "held"
    shop.settings.pop("consistency_groups")
    shop.close()
    shop.sql("INSERT INTO a VALUES (1, 1), (2, 2)")
    shop.commit("a")
    with pytest.raises(HeldError, match=r"'a'.* superseded"):
        shop.project.approve("b")
    assert shop.project.reject("b")[0].status == "rejected"
    assert shop.commit("b").updates == 2
    shop.verify("b")


def test_a_new_base_that_was_asked_for_is_still_made_after_another_commit(world: World) -> None:
    world.fed("orders", numbered(1, 2))
    world.commit("orders")
    world.project.catalog.set_flag("orders", rebaseline=True)
    world.project.compact("orders")
    result = world.commit("orders", numbered(8, 9))
    assert (result.status, result.changes) == ("committed", 0)
    assert world.commit("orders", numbered(8, 7)).updates == 1


def test_a_base_of_an_older_encoder_is_fingerprinted_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fed("orders", numbered(1, 2), snapshots=DELTAS, guards=OPEN)
    world.commit("orders")
    real = canonical.row_bytes

    def salted(batch: pa.RecordBatch, schema: Schema, names: Sequence[str]) -> pa.Array:
        return pc.binary_join_element_wise(real(batch, schema, names), b"2", b"/")

    monkeypatch.setattr(canonical, "ENCODER_VERSION", 2)
    monkeypatch.setattr(fingerprints, "row_bytes", salted)
    world.project.compact("orders")
    assert world.project.check(read_data=True) == []
    assert world.project.catalog.schemas("orders")[-1].changes == ("encoder version 1 -> 2",)
    assert world.commit("orders").status == "unchanged"


def test_a_chain_holds_after_old_attempts_were_forgotten(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "ENDED_CYCLES_KEPT", 2)
    shop.sql("UPDATE a SET v = 3")
    shop.commit("a")
    for _ in range(6):
        shop.commit("a")
    assert len(shop.project.catalog.cycles("b", status=["unchanged"])) < 6
    assert shop.project.check() == []
