"""Cycles under a clock that jumps, in a process of its own: `python -m tests.faults.clockwork FOLDER SEED CYCLES`.

The clock is set at random between the cycles, and by the iterator in the middle of them, by as much as four years. What
must hold is asserted after each; says how many events there are in the end.
"""

import os
import random
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from differ.catalog.consumers import Consumers
from differ.catalog.groups import Groups
from differ.iterators import Context
from tests.cycle.world import World
from tests.faults.wallclock import write_offset

STEPS = [timedelta(seconds=2), timedelta(minutes=90), timedelta(days=1), timedelta(days=1460)]
CLOCK = Path(os.environ["DIFFER_TEST_CLOCK"])


def jump(chance: random.Random) -> None:
    write_offset(CLOCK, chance.choice([*STEPS, timedelta()]) * chance.choice([1, -1]))


def play(folder: Path, chance: random.Random, cycles: int) -> int:
    # A clock that is years ahead makes everything old.
    world = World(folder, relay={"retention": {"age": "3650d"}})
    rows: dict[str, dict[int, int]] = {"a": {}, "b": {}}
    for source in rows:
        world.fed(source, snapshots={"keep": 2, "small_base": chance.choice([0, "64MiB"])})
    expected = 0
    for _ in range(cycles):
        source = chance.choice(["a", "b"])
        before = dict(rows[source])
        for _ in range(chance.randint(0, 4)):
            key = chance.randint(0, 9)
            if chance.random() < 0.3:
                rows[source].pop(key, None)
            else:
                rows[source][key] = chance.randint(0, 3)
        now = dict(rows[source])

        def batches(ctx: Context, now: dict[int, int] = now) -> Iterator[Any]:
            jump(chance)
            yield [{"id": key, "v": value} for key, value in now.items()]
            jump(chance)

        world.feed(source).splits = [batches]
        result = world.scan(source)
        moved = sum(before.get(key) != now.get(key) for key in before | now)
        if result.status == "held":  # the last row went: a person lets it
            (result,) = world.project.approve(source, cycle=result.cycle, hash=result.hash)
        assert result.changes == moved, (result, moved)
        expected += moved
        assert world.project.catalog.stream().head_scn == expected
        assert {key: row["v"] for (key,), row in world.state(source).items()} == now
        world.verify(source)
    scns = [event.scn for event in world.project.events()]
    assert scns == list(range(1, expected + 1))
    assert world.project.check(read_data=True) == []
    cycle_numbers = [entry.cycle for entry in world.project.catalog.cycles("a")]
    assert cycle_numbers == sorted(cycle_numbers, reverse=True)
    world.close()
    return expected


def hand_over(folder: Path) -> None:
    """A clock that is set back an hour does not keep a dead member's share: the others have it a lease later."""
    consumers = Consumers(f"sqlite:///{folder}/consumers.db")
    groups = Groups(consumers)
    write_offset(CLOCK, timedelta())
    dead = groups.join("g", member="dead", lease_seconds=1)
    assert dead.partitions
    groups.join("g", member="living", lease_seconds=1)
    write_offset(CLOCK, timedelta(hours=-1))
    wanted = len(dead.partitions)
    while len(groups.heartbeat("g", "living").partitions) < wanted:
        pass
    consumers.close()


if __name__ == "__main__":
    found = play(Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3]))
    hand_over(Path(sys.argv[1]))
    sys.stdout.write(f"{found}\n")
