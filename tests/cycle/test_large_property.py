"""A few thousand rows through all that only larger sources meet, in one life: spilled entries and images, deltas of the
index that are folded, an index written anew, and bases that are compacted.

Sizes at which these happen are made small; how they interlock is left as it is. What changes is random, how much of it
is not, so that every example meets everything; `test_properties.py` asks the same of small states of any shape.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from differ.snapshots import merge
from differ.snapshots.manifest import Manifest
from differ.storage.spill import Buckets
from tests.cycle.test_properties import fresh
from tests.cycle.world import State, World, apply

ROWS = 3000
MEMORY = "256KiB"
"""Spills what a large cycle changes, and keeps what a small one does."""
SMALL, MEDIUM, LARGE = (0.001, 0.02), (0.15, 0.2), (0.45, 0.6)
LIFE = (SMALL, SMALL, SMALL, SMALL, MEDIUM, SMALL, LARGE, SMALL, SMALL, SMALL, SMALL)
"""How many of the rows each cycle changes, as a range of shares: appended, appended, folded, appended, index rewritten,
appended, rewritten, compacted, and again from the start."""
SCHEMA = pa.schema([("id", pa.int64()), ("s", pa.string()), ("n", pa.int32()), ("t", pa.string())])
KINDS = ("insert", "update", "delete", "restore")


@pytest.fixture
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ranges, and deltas before a fold, of a source a thousand times smaller."""
    for name, value in {"SMALL_ROWS": 64, "RANGE_ROWS": 256, "DELTAS_MAX": 2}.items():
        monkeypatch.setattr(merge, name, value)
    return


@contextmanager
def counted_spills() -> Iterator[dict[str, int]]:
    """How often rows were put aside into files, by what they were."""
    spills: dict[str, int] = {}
    write = Buckets.write

    def counted(self: Buckets, bucket: int, batch: pa.RecordBatch) -> None:
        spills[self._stem] = spills.get(self._stem, 0) + 1
        write(self, bucket, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Buckets, "write", counted)
        yield spills


@dataclass
class Shop:
    """The source as it is now, and the rows that are gone from it."""

    random: random.Random
    rows: State
    gone: State
    next_id: int = 0

    def change(self, shares: tuple[float, float], mix: list[str]) -> dict[str, int]:
        """Change a share of the rows; returns how many inserts, updates and deletes that is."""
        count = max(len(mix), int(self.random.uniform(*shares) * len(self.rows)))
        chosen = self.random.sample(sorted(self.rows), min(count, len(self.rows)))
        returning = self.random.sample(sorted(self.gone), min(count, len(self.gone)))
        done = dict.fromkeys(("insert", "update", "delete"), 0)
        for number in range(len(chosen)):
            kind = mix[number % len(mix)]
            key = chosen[number]
            if kind == "restore" and returning:
                back = returning.pop()
                self.rows[back] = self.gone.pop(back)
                done["insert"] += 1
            elif kind == "delete":
                self.gone[key] = self.rows.pop(key)
                done["delete"] += 1
            elif kind == "update":
                self._update(self.rows[key])
                done["update"] += 1
            else:
                self.insert()
                done["insert"] += 1
        return done

    def insert(self) -> None:
        """A row that never was."""
        # Keys go up and down, so that new ones lie among the old.
        key = (self.next_id if self.next_id % 2 else -self.next_id,)
        self.next_id += 1
        self.rows[key] = {"id": key[0], "s": self._text(3), "n": self._number(), "t": self._text(40)}

    def _update(self, row: dict[str, Any]) -> None:
        name = self.random.choice(("s", "n", "t"))
        old = row[name]
        while row[name] == old:
            row[name] = self._number() if name == "n" else self._text(3 if name == "s" else 40)

    def _text(self, length: int) -> str | None:
        return None if self.random.random() < 0.1 else "".join(self.random.choices("abé日", k=length))

    def _number(self) -> int | None:
        return None if self.random.random() < 0.1 else self.random.randrange(-3, 2**31)

    def splits(self) -> list[list[pa.RecordBatch]]:
        """All rows in random order, in batches of random sizes, in two splits."""
        rows = list(self.rows.values())
        self.random.shuffle(rows)
        batches: list[pa.RecordBatch] = []
        while rows:
            size = self.random.randrange(1, ROWS // 3)
            batches.append(pa.RecordBatch.from_pylist(rows[:size], schema=SCHEMA))
            rows = rows[size:]
        cut = self.random.randrange(len(batches) + 1)
        return [batches[:cut], batches[cut:]]


def manifest(world: World) -> Manifest:
    return world.project.snapshot("orders").manifest


def how(old: Manifest, new: Manifest) -> str:
    """What a cycle did to the files of the state before."""
    if new.parts[0].file.path != old.parts[0].file.path:
        return "compacted"
    if new.index.path != old.index.path:
        return "rewritten"
    return "appended" if new.index_deltas[: len(old.index_deltas)] == old.index_deltas else "folded"


@pytest.mark.usefixtures("small_sizes", "kernels_or_not")
@settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    # A seed has no simpler one, and a mix hardly: trying for minutes would tell nothing more.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    seed=st.integers(0, 2**32), mixes=st.lists(st.permutations(KINDS), min_size=len(LIFE), max_size=len(LIFE))
)  # fmt: skip
def test_a_long_life_of_thousands_of_rows(seed: int, mixes: list[list[str]]) -> None:
    shop = Shop(random.Random(seed), {}, {})
    for _ in range(ROWS):
        shop.insert()
    done: list[str] = []
    with fresh(executor={"memory": MEMORY}) as world, counted_spills() as spills:
        world.fed("orders", snapshots={"small_base": 0, "delta_share": "60%"})
        world.feed("orders").splits = shop.splits()
        assert world.commit("orders").inserts == ROWS
        folded: State = {}
        head = 0
        for shares, mix in zip((None, *LIFE), ([], *mixes), strict=True):
            if shares is not None:
                before, counts = manifest(world), shop.change(shares, mix)
                world.feed("orders").splits = shop.splits()
                result = world.commit("orders")
                assert (result.inserts, result.updates, result.deletes) == tuple(counts.values())
                done.append(how(before, manifest(world)))
            for batch in world.project.event_batches("orders", since=head):
                apply(folded, batch)
            head = world.project.catalog.stream().head_scn
            assert folded == shop.rows
            assert world.state("orders") == shop.rows
        assert world.commit("orders").changes == 0
        assert world.project.check(read_data=True) == []
    assert {"appended", "folded", "rewritten", "compacted"} <= set(done), done
    assert set(spills) == {"entries", "updates"}, spills
