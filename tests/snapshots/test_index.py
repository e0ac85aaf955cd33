"""The index against a dict: matching, gathering and merging, over many ranges and runs, with crafted collisions."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differ.records.fingerprints import Fingerprints
from differ.snapshots import merge as merge_module
from differ.snapshots.bits import Bits
from differ.snapshots.entries import NONE, EntryRuns, delta_schema, entry_schema, make_entries
from differ.snapshots.index import Index, open_index
from differ.snapshots.merge import DuplicateEntriesError, append, fold, merge, write_run
from differ.snapshots.run import ABSENT, IndexRange
from differ.storage import StoredFile

Key = tuple[int, int]
TOLERATED = pa.schema([pa.field("w", pa.float64())])
SCHEMA = entry_schema(TOLERATED)
# Few high halves, at the borders of ranges too, so that keys that share 64 bits are common.
HIGH = st.sampled_from([0, 1, 2**56 - 1, 2**56, 2**58, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1])
LOW = st.integers(0, 3) | st.just(2**64 - 1)
KEYS = st.lists(st.tuples(HIGH | st.integers(0, 2**64 - 1), LOW), unique=True, max_size=60)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of about four rows instead of a million."""
    monkeypatch.setattr(merge_module, "RANGE_ROWS", 4)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for all examples of a test."""
    path = Path(tempfile.mkdtemp(prefix="differ-"))
    yield path
    shutil.rmtree(path)


def hashes(keys: list[Key], rows: list[int]) -> Fingerprints:
    columns = [[key[0] for key in keys], [key[1] for key in keys], rows, [row ^ 1 for row in rows]]
    return Fingerprints(*(np.array(column, dtype=np.uint64) for column in columns))


def runs(
    keys: list[Key],
    locations: list[int],
    folder: Path,
    *,
    budget: int,
    batches: int = 3,
    replaces: Sequence[int] | None = None,
) -> EntryRuns:
    """The keys as entries, a few at a time; row hash and tolerated value follow from the location. GONE deletes."""
    schema = SCHEMA if replaces is None else delta_schema(SCHEMA)
    made = EntryRuns(schema, folder, budget_bytes=budget)
    for start in range(0, len(keys), max(1, len(keys) // batches)):
        stop = start + max(1, len(keys) // batches)
        where = locations[start:stop]
        tolerated = {"w": pa.array([None if loc % 3 == 0 else loc / 2 for loc in where], pa.float64())}
        took = None if replaces is None else np.array(replaces[start:stop], dtype=np.uint64)
        made.add(
            make_entries(hashes(keys[start:stop], where), np.array(where, dtype=np.uint64), tolerated, schema, took)
        )
    return made


def written(
    folder: Path, previous: Index | None, dead: Bits | None, upserts: EntryRuns, relocate: object = None
) -> Index:
    """A new base run of what lives on and what is new."""
    alive = 0 if previous is None else previous.rows - (dead.count() if dead else 0)
    entries = merge(previous if alive else None, dead, upserts, relocate)  # type: ignore[arg-type]
    path = folder / f"{uuid.uuid4()}.arrow"
    file = write_run(path, folder, entries=entries, total_rows=alive + upserts.rows, schema=SCHEMA)
    return open_index(folder, file, "orders")


def check(index: Index, model: Mapping[Key, int], absent: list[Key]) -> None:
    """The index says exactly what the dict says."""
    assert index.rows == len(model)
    keys = [*model, *absent]
    positions = index.probe(hashes(keys, [0] * len(keys)))
    assert (positions[len(model) :] == ABSENT).all()
    found = positions[: len(model)]
    assert len(set(found.tolist())) == len(model)
    alive = index.alive or Bits.full(index.size)
    assert sorted(found.tolist()) == alive.numbers().tolist()
    assert index.gather(found, "loc").tolist() == list(model.values())
    assert list(
        zip(index.gather(found, "key_hi").tolist(), index.gather(found, "key_lo").tolist(), strict=True)
    ) == list(model)
    assert index.gather(found, "row_hi").tolist() == list(model.values())
    assert index.gather_arrow(found, "tolerated.w").to_pylist() == [
        None if v % 3 == 0 else v / 2 for v in model.values()
    ]
    for run in index.runs:
        entries = [key for part in run.ranges.values() for key in zip(*_keys(part), strict=True)]
        assert entries == sorted(entries)
    check_matches(index, model, absent)


def check_matches(index: Index, model: Mapping[Key, int], absent: list[Key]) -> None:
    """Matching tells rows that are the same, are others, are not there, and come again; and what was not seen."""
    keys = [*model, *absent, *list(model)[:3]]
    rows = [model.get(key, 0) ^ (i % 2) for i, key in enumerate(keys)]
    seen = Bits(index.size)
    found = index.match(hashes(keys, rows), seen)
    count = len(model)
    assert found.moved[:count].tolist() == [i % 2 == 1 for i in range(count)]
    assert not found.moved[count : count + len(absent)].any()
    assert found.again.tolist() == [False] * (count + len(absent)) + [True] * min(3, count)
    assert index.match(hashes(list(model), list(model.values())), seen).again.all()
    assert seen.count() == count


def _keys(part: IndexRange) -> tuple[list[int], list[int]]:
    return part.column("key_hi").tolist(), part.column("key_lo").tolist()


@pytest.mark.usefixtures("small_ranges", "kernels_or_not")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rounds_of_changes_agree_with_a_dict(data: st.DataObject) -> None:
    """Keys come, change, go and come back; the index is rewritten, given a delta, or has its deltas folded."""
    folder = Path(tempfile.mkdtemp(prefix="differ-"))
    try:
        model: dict[Key, int] = {}
        index: Index | None = None
        files: list[StoredFile] = []
        location = 1
        for number in range(data.draw(st.integers(1, 5), label="rounds")):
            known = data.draw(st.sets(st.sampled_from(sorted(model)))) if model else set()
            gone = {key for key in sorted(known) if data.draw(st.booleans())}
            changed = sorted(known - gone)
            fresh = [key for key in data.draw(KEYS, label="fresh") if key not in model]
            spill = folder / str(number)
            spill.mkdir()
            budget = data.draw(st.sampled_from([0, 200, 1 << 20]), label="budget")
            upserts = [*changed, *fresh]
            locations = list(range(location, location + len(upserts)))
            location += len(upserts)
            old = [] if index is None else index.probe(hashes([*changed, *sorted(gone)], [0] * len(known))).tolist()
            dead = Bits(0 if index is None else index.size)
            dead.add(np.array(old, dtype=np.int64))
            how = "rewrite" if index is None else data.draw(st.sampled_from(["rewrite", "append", "fold"]), label="how")
            keys, where = [*upserts, *sorted(gone)], [*locations, *[int(NONE)] * len(gone)]
            took = [*old[: len(changed)], *[int(NONE)] * len(fresh), *old[len(changed) :]]
            made = runs(keys, where, spill, budget=budget, replaces=took)
            path = folder / f"{number}.arrow"
            if index is None or how == "rewrite":
                survivors = 0 if index is None else index.rows - dead.count()
                entries = merge(index if survivors else None, dead, made, None)
                files = [write_run(path, folder, entries=entries, total_rows=made.rows, schema=SCHEMA)]
            else:
                entries = fold(index, dead, made) if how == "fold" and index.deltas else append(made)
                delta = write_run(path, folder, entries=entries, total_rows=made.rows, schema=delta_schema(SCHEMA))
                files = [files[0], delta] if how == "fold" and index.deltas else [*files, delta]
            index = open_index(folder, files[0], "orders", deltas=files[1:])
            model = {key: value for key, value in model.items() if key not in known}
            model |= dict(zip(upserts, locations, strict=True))
            check(index, model, [key for key in data.draw(KEYS, label="absent") if key not in model])
            live = index.live(location)
            assert live is None or np.flatnonzero(live).tolist() == sorted(model.values())
    finally:
        shutil.rmtree(folder)


@pytest.mark.usefixtures("small_ranges")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=KEYS.filter(len), budget=st.sampled_from([0, 1 << 20]), how=st.sampled_from([merge, append]), data=st.data()
)
def test_two_entries_of_one_key_are_found_wherever_they_meet(
    keys: list[Key], budget: int, how: object, data: st.DataObject
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="differ-"))
    try:
        again = data.draw(st.integers(0, len(keys) - 1))
        given_keys = [*keys, keys[again]]
        locations = list(range(len(given_keys)))
        replaces = None if how is merge else [int(NONE)] * len(given_keys)
        upserts = runs(given_keys, locations, folder, budget=budget, replaces=replaces)
        entries = merge(None, None, upserts, None) if how is merge else append(upserts)
        schema = SCHEMA if how is merge else delta_schema(SCHEMA)
        with pytest.raises(DuplicateEntriesError) as caught:
            write_run(folder / "run.arrow", folder, entries=entries, total_rows=len(given_keys), schema=schema)
        assert sorted(caught.value.locations) == [again, len(keys)]
    finally:
        shutil.rmtree(folder)


@pytest.mark.usefixtures("small_ranges")
def test_relocation_moves_survivors_only(folder: Path) -> None:
    keys = [(i << 57, 0) for i in range(100)]
    first = written(folder, None, None, runs(keys, list(range(100)), folder, budget=1 << 20))
    assert first.base.bits > 3
    dead = Bits(100)
    dead.add(first.probe(hashes(keys[:10], [0] * 10)))
    relocate = np.arange(100, dtype=np.uint64) + np.uint64(1000)
    fresh = runs([(5, 5)], [7], folder, budget=1 << 20)
    second = written(folder, first, dead, fresh, relocate)
    found = second.probe(hashes([(5, 5), *keys[10:]], [0] * 91))
    assert second.gather(found, "loc").tolist() == [7, *range(1010, 1100)]
    assert (second.probe(hashes(keys[:10], [0] * 10)) == ABSENT).all()


@pytest.mark.usefixtures("kernels_or_not")
def test_an_empty_index_finds_nothing(folder: Path) -> None:
    index = written(folder, None, None, runs([], [], folder, budget=0))
    assert index.rows == 0
    assert index.probe(hashes([(1, 1)], [0])).tolist() == [ABSENT]
    assert index.gather_arrow(np.zeros(0, dtype=np.int64), "tolerated.w").to_pylist() == []


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 70), data=st.data())
def test_bits_are_a_set_of_numbers(size: int, data: st.DataObject) -> None:
    numbers = st.lists(st.integers(0, max(0, size - 1)), max_size=30 if size else 0)
    model: set[int] = set()
    bits = Bits(size)
    for _ in range(3):
        added, removed = data.draw(numbers), data.draw(numbers)
        bits.add(np.array(added, dtype=np.int64))
        bits.remove(np.array(removed, dtype=np.int64))
        model = (model | set(added)) - set(removed)
    assert bits.numbers().tolist() == sorted(model)
    assert bits.count() == len(model)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    assert np.flatnonzero(bits.mask(start, stop)).tolist() == sorted(n - start for n in model if start <= n < stop)
    masked = Bits(size)
    masked.add_mask(start, bits.mask(start, stop))
    assert masked.numbers().tolist() == sorted(n for n in model if start <= n < stop)
    assert Bits.full(size).without(bits).numbers().tolist() == sorted(set(range(size)) - model)
    places = np.array(sorted(model), dtype=np.int64)
    assert bits.has(places).all()
