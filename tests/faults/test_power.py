"""The power is lost at any step: in every state that the disk may legally be in, what the catalog refers to is whole,
the state is the old one or the new one, the next scan works, and what nothing refers to is swept.

A scenario is done once while its steps are written down; then what the disk may hold after each of them is made in a
folder of its own. The same with a kill before it: what a dead process left without a sync is still without one when
the next one goes on.
"""

import copy
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from differ.errors import CorruptionError, DifferError
from differ.storage import ensure_folder
from tests.cycle.conftest import world
from tests.cycle.world import World
from tests.faults.conftest import FULL, sized
from tests.faults.disk import DATABASES, SECTOR, Disk, Done, Files, Recorder, read_tree, write_tree
from tests.faults.following import bury_one, followed, letters
from tests.faults.scenarios import SCENARIOS
from tests.faults.test_kill import shapes

__all__ = ["world"]

STATES = sized(8, 500)
"""How many different states of each scenario are tried at most; half as many with a kill before them."""
SAMPLES = sized(2, 16)
KILLS = sized(1, 12)


CHANGING = {
    "file.create", "file.write", "file.cut", "file.fsync", "file.rename", "file.remove",
    "folder.create", "folder.remove", "folder.fsync", *DATABASES,
}  # fmt: skip
"""Steps after which the disk may hold what it could not hold before."""


class Blackout:
    """A scenario that is done in this process, and looked at in the folders that a loss of power may leave."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.scenario = world, SCENARIOS[name]
        self.scenario.prepare(world)
        self.old = self.scenario.look(world)
        self.begin = read_tree(world.folder)
        self.steps = self._recorded("act")
        self.new = self.scenario.look(world)
        self.final = self._settled(world)
        self.whole = shapes(world.files())
        self.tried: set[int] = set()

    def _recorded(self, part: str, *, stop_at: int | None = None) -> list[Done]:
        with Recorder(self.world.folder, stop_at=stop_at) as recorder:
            getattr(self.scenario, part)(self.world.project)
            self.world.close()
        return recorder.steps

    def killed_steps(self, at: int) -> list[Done]:
        """The steps of a process that ended at a step, and of the recovery."""
        self.world.close()
        shutil.rmtree(self.world.folder)
        write_tree(self.world.folder, self.begin)
        with Recorder(self.world.folder, stop_at=at) as recorder:
            with suppress(DifferError, OSError, AssertionError):
                self.scenario.act(self.world.project)
            self.world.close()
        return recorder.steps + self._recorded("recover")

    def _settled(self, world: World) -> Any:
        self.scenario.recover(world.project)
        return self.scenario.look(world)

    def states(self, steps: list[Done], chance: random.Random, many: int) -> Iterator[tuple[int, Files]]:
        """At most so many different legal states, spread evenly over the steps, each with the number of steps that were
        done; always some with all of them done."""
        places = [0]
        for number, step in enumerate(steps, 1):
            following = steps[number].point if number < len(steps) else None
            if step.point in CHANGING and not step.point == following == "file.write":
                places.append(number)
        last = places[-1]
        if len(places) > many:
            places = sorted(chance.sample(places, many))
        each = -(-many // len(places))
        disk, played = Disk(self.begin), 0
        for number in sorted({*places, last}):
            for step in steps[played:number]:
                disk.play(step)
            played = number
            found = {_digest(state): state for state in disk.states(chance, SAMPLES)}
            fresh = sorted(set(found) if number == last else set(found) - self.tried)
            for digest in chance.sample(fresh, min(each, len(fresh))):
                self.tried.add(digest)
                state = found[digest]
                yield len(steps) if number == last else number, state

    @contextmanager
    def after(self, state: Files) -> Iterator[World]:
        """The project as it is after the power came back."""
        folder = self.world.folder.with_name(f"{self.world.folder.name}-dark")
        write_tree(folder, state)
        dark = World(folder)
        dark.settings = copy.deepcopy(self.world.settings)
        try:
            yield dark
        finally:
            dark.close()
            shutil.rmtree(folder)

    def verify(self, state: Files, allowed: list[Any], where: str) -> Any:
        """Old or new, then the same end and the same files."""
        with self.after(state) as dark:
            found = self.scenario.look(dark)
            assert found in allowed, where
            assert self._settled(dark) == self.final, where
            assert shapes(dark.files()) == self.whole, where
            return found


def _digest(state: Files) -> int:
    return hash(frozenset((name, hash(body)) for name, body in state.items()))


@pytest.mark.parametrize("name", SCENARIOS)
def test_power_is_lost_at_any_step(world: World, name: str, seed: int) -> None:
    chance = random.Random(seed)
    blackout = Blackout(world, name)
    seen, tried = set(), 0
    for number, state in blackout.states(blackout.steps, chance, STATES):
        tried += 1
        over = number == len(blackout.steps)
        allowed = [blackout.new] if over else [blackout.old, blackout.new]
        found = blackout.verify(state, allowed, f"{name}, after {number}: {told(blackout.steps, number)}")
        seen.add(found == blackout.new)
    with_kill = 0
    for _ in range(KILLS):
        at = chance.randrange(len(blackout.steps))
        steps = blackout.killed_steps(at)
        for number, state in blackout.states(steps, chance, max(4, STATES // 2 // KILLS)):
            with_kill += 1
            # Who comes after a killed repair may find nothing to mend, so nothing syncs what it moved: then the damage
            # may be there again, and be found again.
            over = number == len(steps) and not name.startswith("repair")
            allowed = [blackout.final] if over else [blackout.old, blackout.new, blackout.final]
            where = f"{name}, killed at {at}, then without power after {number}: {told(steps, number)}"
            blackout.verify(state, allowed, where)
    print(f"{name}: {tried} states, and {with_kill} with a kill before")  # noqa: T201
    assert True in seen
    assert not FULL or blackout.old == blackout.new or False in seen


def told(steps: list[Done], number: int) -> str:
    """The last steps before a loss of power."""
    return ", ".join(f"{step.point} {step.path}" for step in steps[max(0, number - 3) : number])


def test_a_letter_whose_first_sectors_were_lost_is_no_letter(world: World) -> None:
    """It was not synced, so nobody was told that it is safe; a bit that rots in it is another thing, and is told."""
    followed(world)
    bury_one(world.project)
    path = letters(world.project).path
    whole = path.read_bytes()
    begin = whole.index(b"\n") + 1
    path.write_bytes(whole[:begin] + bytes(SECTOR) + whole[begin + SECTOR :])
    assert [letter.scn for letter in letters(world.project).pending()] == [11]
    bury_one(world.project)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:begin] + b"z" + whole[begin + 1 :])
    with pytest.raises(CorruptionError, match="line 2"):
        letters(world.project).pending()


def test_a_folder_whose_maker_died_is_made_durable(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with Recorder(tmp_path.parent) as recorder:
        ensure_folder(tmp_path / "made" / "below")
    folder = tmp_path.name
    assert [(step.point, step.path) for step in recorder.steps] == [
        ("folder.fsync", folder),
        ("folder.create", f"{folder}/made/below"),
        ("folder.fsync", f"{folder}/made"),
    ]
    with Recorder(tmp_path.parent) as recorder:
        ensure_folder(tmp_path / "made")
    assert recorder.steps == []
