"""What always holds, whatever a source does: events turn state into state, and nothing else is ever true of them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cycle.feed import PLUGIN
from tests.cycle.states import KEY, TYPES, Model, expected, rows, shaped, stored
from tests.cycle.world import World

SNAPSHOTS: dict[str, dict[str, Any]] = {
    "full base": {},
    "deltas only": {"small_base": 0, "delta_share": "100%"},
    "compaction every time": {"small_base": 0, "delta_share": "0.001%"},
}
MEMORY_FOLDER = Path("/dev/shm")  # Hundreds of cycles; what fsync costs is not what is asked here.
MEMORY = st.sampled_from(["1GiB", 0])


@contextmanager
def fresh(**more: Any) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="differ-", dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None))
    world = World(folder, **more)
    world.plugin("feed", PLUGIN.format(types=TYPES))
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("snapshots", SNAPSHOTS.values(), ids=SNAPSHOTS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_state_is_the_fold_of_the_events_is_what_was_read(snapshots: dict[str, Any], data: st.DataObject) -> None:
    documents = data.draw(st.booleans(), label="documents")
    states = data.draw(st.lists(rows(documents=documents), min_size=1, max_size=4), label="states")
    ignore = data.draw(st.sets(st.sampled_from("sb")), label="ignore")
    tolerance = data.draw(st.sampled_from([{}, {"n": 2}]), label="tolerance")
    with fresh(executor={"memory": data.draw(MEMORY, label="memory")}) as world:
        columns = {"ignore": sorted(ignore), "tolerance": tolerance}
        world.fed("orders", key=KEY, snapshots=snapshots, columns=columns)
        model = Model(ignore, tolerance)
        boundaries: dict[int, Any] = {0: {}}
        for state in states:
            world.feed("orders").splits = data.draw(shaped(state))
            counts = model.see(expected(state))
            result = world.commit("orders")
            assert (result.inserts, result.updates, result.deletes) == counts
            assert result.rows == len(state)
            assert stored(world.state("orders")) == model.state
            boundaries[world.project.catalog.stream().head_scn] = {k: dict(v) for k, v in model.state.items()}
        world.verify("orders")
        for boundary, state_then in boundaries.items():
            assert stored(world.fold("orders", until=boundary)) == state_then
        first = next(entry for entry in reversed(world.project.catalog.cycles("orders")) if entry.scn_last is not None)
        for scn in range(first.scn_last or 0, max(boundaries) + 1):
            assert stored(world.state("orders", scn)) == boundaries[max(b for b in boundaries if b <= scn)]


@pytest.mark.parametrize("snapshots", SNAPSHOTS.values(), ids=SNAPSHOTS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_the_same_state_in_another_shape_is_no_change(snapshots: dict[str, Any], data: st.DataObject) -> None:
    state = data.draw(rows(documents=data.draw(st.booleans())))
    with fresh(executor={"memory": data.draw(MEMORY)}) as world:
        world.fed("orders", key=KEY, snapshots=snapshots)
        world.feed("orders").splits = data.draw(shaped(state))
        world.commit("orders")
        for _ in range(3):
            world.feed("orders").splits = data.draw(shaped(state))
            result = world.commit("orders")
            assert result.changes == 0, world.ops("orders", since=len(state))
        assert stored(world.state("orders")) == expected(state)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_scns_have_no_gaps_over_several_sources(data: st.DataObject) -> None:
    with fresh() as world:
        names = ("a", "b", "c")
        models = {name: Model() for name in names}
        for name in names:
            world.fed(name, key=KEY)
        total = 0
        for name in data.draw(st.lists(st.sampled_from(names), min_size=2, max_size=6)):
            state = data.draw(rows(documents=False))
            world.feed(name).splits = data.draw(shaped(state))
            total += sum(models[name].see(expected(state)))
            world.commit(name)
        assert world.project.catalog.stream().head_scn == total
        assert [event.scn for event in world.project.events()] == list(range(1, total + 1))
        for name in names:
            assert stored(world.fold(name)) == models[name].state
            world.verify(name)
