"""The index against a dict: probing, gathering and merging, over many ranges and with crafted collisions."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from differ.records.fingerprints import Fingerprints
from differ.snapshots import index as index_module
from differ.snapshots.entries import EntryRuns, entry_schema, make_entries
from differ.snapshots.index import ABSENT, DuplicateEntriesError, Index, merge, open_index, write_index

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
    monkeypatch.setattr(index_module, "RANGE_ROWS", 4)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for all examples of a test."""
    path = Path(tempfile.mkdtemp(prefix="differ-"))
    yield path
    shutil.rmtree(path)


def hashes(keys: list[Key], rows: list[int]) -> Fingerprints:
    columns = [[key[0] for key in keys], [key[1] for key in keys], rows, [row ^ 1 for row in rows]]
    return Fingerprints(*(np.array(column, dtype=np.uint64) for column in columns))


def runs(keys: list[Key], locations: list[int], folder: Path, *, budget: int, batches: int = 3) -> EntryRuns:
    """The keys as entries, a few at a time; row hash and tolerated value follow from the location."""
    made = EntryRuns(SCHEMA, folder, budget_bytes=budget)
    for start in range(0, len(keys), max(1, len(keys) // batches)):
        stop = start + max(1, len(keys) // batches)
        where = locations[start:stop]
        tolerated = {"w": pa.array([None if loc % 3 == 0 else loc / 2 for loc in where], pa.float64())}
        entries = make_entries(hashes(keys[start:stop], where), np.array(where, dtype=np.uint64), tolerated, SCHEMA)
        made.add(entries)
    return made


def written(
    folder: Path, previous: Index | None, dead: np.ndarray, upserts: EntryRuns, relocate: object = None
) -> Index:
    alive = 0 if previous is None else previous.rows - int(dead.sum())
    for old in folder.glob("*.arrow"):
        old.unlink()
    entries = merge(previous if alive else None, dead, upserts, relocate)  # type: ignore[arg-type]
    path = folder / "index.arrow"
    file = write_index(path, folder, entries=entries, total_rows=alive + upserts.rows, schema=SCHEMA)
    return open_index(folder, file, "orders")


def check(index: Index, model: Mapping[Key, int], absent: list[Key]) -> None:
    """The index says exactly what the dict says."""
    assert index.rows == len(model)
    keys = [*model, *absent]
    positions = index.probe(hashes(keys, [0] * len(keys)))
    assert (positions[len(model) :] == ABSENT).all()
    found = positions[: len(model)]
    assert sorted(found.tolist()) == list(range(len(model)))
    assert index.gather(found, "loc").tolist() == list(model.values())
    assert list(
        zip(index.gather(found, "key_hi").tolist(), index.gather(found, "key_lo").tolist(), strict=True)
    ) == list(model)
    assert index.gather(found, "row_hi").tolist() == list(model.values())
    assert index.gather_arrow(found, "tolerated.w").to_pylist() == [
        None if v % 3 == 0 else v / 2 for v in model.values()
    ]
    order = np.argsort(found)
    assert [list(model)[i] for i in order] == sorted(model)


@pytest.mark.usefixtures("small_ranges")
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_rounds_of_probe_and_merge_agree_with_a_dict(data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp(prefix="differ-"))
    try:
        model: dict[Key, int] = {}
        index: Index | None = None
        location = 0
        for number in range(data.draw(st.integers(1, 3))):
            keys = data.draw(KEYS)
            spill = folder / str(number)
            spill.mkdir()
            if index is None:
                dead = np.zeros(0, dtype=bool)
            else:
                dead = np.zeros(index.rows, dtype=bool)
                gone = data.draw(st.sets(st.sampled_from(sorted(model)))) if model else set()
                positions = index.probe(
                    hashes(sorted(gone | (model.keys() & set(keys))), [0] * len(gone | (model.keys() & set(keys))))
                )
                dead[positions] = True
                model = {key: value for key, value in model.items() if key not in gone}
            locations = list(range(location, location + len(keys)))
            location += len(keys)
            upserts = runs(keys, locations, spill, budget=data.draw(st.sampled_from([0, 200, 1 << 20])))
            index = written(folder, index, dead, upserts)
            model = {**model, **dict(zip(keys, locations, strict=True))}
            check(index, model, [key for key in data.draw(KEYS) if key not in model])
    finally:
        shutil.rmtree(folder)


@pytest.mark.usefixtures("small_ranges")
@settings(max_examples=30, deadline=None)
@given(keys=KEYS.filter(len), budget=st.sampled_from([0, 1 << 20]), data=st.data())
def test_two_entries_of_one_key_are_found_wherever_they_meet(keys: list[Key], budget: int, data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp(prefix="differ-"))
    try:
        again = data.draw(st.integers(0, len(keys) - 1))
        given_keys = [*keys, keys[again]]
        upserts = runs(given_keys, list(range(len(given_keys))), folder, budget=budget)
        with pytest.raises(DuplicateEntriesError) as caught:
            written(folder, None, np.zeros(0, dtype=bool), upserts)
        assert sorted(caught.value.locations) == [again, len(keys)]
    finally:
        shutil.rmtree(folder)


@pytest.mark.usefixtures("small_ranges")
def test_relocation_moves_survivors_only(folder: Path) -> None:
    keys = [(i << 57, 0) for i in range(100)]
    first = written(folder, None, np.zeros(0, dtype=bool), runs(keys, list(range(100)), folder, budget=1 << 20))
    assert first.bits > 3
    dead = np.zeros(100, dtype=bool)
    dead[first.probe(hashes(keys[:10], [0] * 10))] = True
    relocate = np.arange(100, dtype=np.uint64) + np.uint64(1000)
    fresh = runs([(5, 5)], [7], folder, budget=1 << 20)
    second = written(folder, first, dead, fresh, relocate)
    found = second.probe(hashes([(5, 5), *keys[10:]], [0] * 91))
    assert second.gather(found, "loc").tolist() == [7, *range(1010, 1100)]
    assert (second.probe(hashes(keys[:10], [0] * 10)) == ABSENT).all()


def test_an_empty_index_finds_nothing(folder: Path) -> None:
    index = written(folder, None, np.zeros(0, dtype=bool), runs([], [], folder, budget=0))
    assert index.rows == 0
    assert index.probe(hashes([(1, 1)], [0])).tolist() == [ABSENT]
    assert index.gather_arrow(np.zeros(0, dtype=np.int64), "tolerated.w").to_pylist() == []
