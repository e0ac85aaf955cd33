"""What a column's type is when rules, declarations and keys change between two scans."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from differ.cycle.place import Place
from tests.cycle.world import DELTAS, World, numbered

PLUGIN = """
from differ.iterators import iterator


@iterator(key="id", consistent=True, types={types!r})
def orders(ctx):
    yield [{{"id": 1, "v": 5}}]
"""
FAR, NEAR = datetime(9999, 12, 31, tzinfo=UTC), datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


def type_of(world: World, column: str = "v") -> str:
    return str(world.project.snapshot("orders").schema.types[column])


@pytest.mark.parametrize("snapshots", [{}, DELTAS])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([1, 2, 3], ["1", "2", "3"]),
        (["1", "2", "3"], [1, 2, 3]),
        ([pd.Timestamp(10**18 + i) for i in range(3)], ["a", "b", "c"]),
    ],
)
def test_a_key_of_another_type_is_deletes_and_inserts(
    world: World, old: list[Any], new: list[Any], snapshots: dict[str, Any]
) -> None:
    world.fed("orders", [{"id": key, "v": 1} for key in old], snapshots=snapshots)
    world.commit("orders")
    result = world.commit("orders", [{"id": key, "v": 1} for key in new])
    assert (result.deletes, result.inserts, result.updates) == (3, 3, 0)
    world.verify("orders")
    assert world.commit("orders").status == "unchanged"


def test_a_key_some_of_whose_values_are_no_ints(world: World) -> None:
    world.fed("orders", pa.table({"id": [1.0, 2.5, 3.5], "v": [1, 1, 1]}).to_pylist())
    world.commit("orders")
    result = world.commit("orders", pa.table({"id": pa.array([1, 2], pa.int64()), "v": [1, 1]}))
    world.verify("orders")
    assert world.state("orders").keys() == {(1,), (2,)}
    assert result.deletes == 2


@pytest.mark.parametrize("mask", ["hmac", "gone", None])
@pytest.mark.parametrize("value", [{"a": 1}, "text", 5, None])
def test_a_mask_that_is_added_replaces_the_type(
    world: World, monkeypatch: pytest.MonkeyPatch, mask: str | None, value: Any
) -> None:
    monkeypatch.setenv("DIFFER_MASK_KEY", "a key of a test")
    world.fed("orders", numbered(value, value))
    world.commit("orders")
    world.source("orders", columns={"mask": {"v": mask}})
    world.commit("orders")
    world.verify("orders")
    assert type_of(world) == ("null" if mask is None else "string")
    world.drop("orders", "columns")
    world.commit("orders")
    world.verify("orders")
    assert [event.after["v"] for event in world.project.events("orders") if event.after][-1] == value


def test_a_declared_type_wins_over_the_one_before(world: World) -> None:
    for declared, shown in (("json", "json"), ("float", "float64"), ("int64", "int64"), ("decimal(10,2)", None)):
        world.plugin("orders", PLUGIN.format(types={"v": declared}))
        world.source("orders", iterator="orders")
        world.commit("orders")
        assert type_of(world) == (shown or declared)
        world.verify("orders")


def test_a_column_that_grows_out_of_its_type_takes_no_other_with_it(world: World) -> None:
    world.fed("orders", [{"id": 1, "v": 0.5, "w": "a"}])
    world.commit("orders")
    world.commit("orders", [{"id": 1, "v": 2**53 + 1, "w": None}])
    assert (type_of(world), type_of(world, "w")) == ("int64", "string")
    world.verify("orders")


def test_a_moment_beyond_nanoseconds_ends_them(world: World) -> None:
    world.fed("orders", numbered(pd.Timestamp(10**18 + 1, tz="UTC"), pd.Timestamp(10**18, tz="UTC")))
    world.commit("orders")
    assert type_of(world) == "timestamp[ns,UTC]"
    assert world.commit("orders", numbered(FAR, NEAR)).updates == 1
    assert type_of(world) == "timestamp[us,UTC]"
    world.verify("orders")


def test_a_key_that_is_excluded_is_named(world: World) -> None:
    world.fed("orders", numbered(1), columns={"exclude": ["id"]})
    result = world.scan("orders")
    assert result.error == "scan orders: columns.exclude names 'id', which is part of the key"
    assert result.hint is not None


def test_an_empty_first_scan_has_nothing_to_mask(world: World) -> None:
    world.fed("orders", columns={"mask": {"v": "gone"}})
    world.feed("orders").splits = [()]
    world.commit("orders")
    assert world.commit("orders", numbered("secret")).inserts == 1
    assert [event.after["v"] for event in world.project.events("orders") if event.after] == ["gone"]


def test_a_folder_of_somebody_else_is_not_swept(world: World) -> None:
    world.fed("orders", numbered(1))
    world.commit("orders")
    place: Place = world.project.place
    folder = next(path for path in (place.snapshots / "orders").iterdir())
    backup = folder.with_name(f"{folder.name}.backup")
    backup.mkdir()
    place.sweep("orders")
    assert backup.is_dir()
