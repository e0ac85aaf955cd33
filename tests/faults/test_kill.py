"""A SIGKILL at every step leaves the old state or the new one, and whoever comes next works at once; so does one in the
middle of that.

Each scenario is done once unharmed, which tells the points it passes, then killed at each of them, and killed again at
the points of what is run to recover. Where the disk looks the same at neighbouring points, `make test` kills at one.
"""

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cycle.conftest import world
from tests.cycle.world import World
from tests.faults.conftest import FULL, sized
from tests.faults.crashing import Crasher
from tests.faults.scenarios import SCENARIOS

__all__ = ["world"]

pytestmark = pytest.mark.crash

PAIRS = 1
"""Second kills tried for each scenario in `make test`; in `make test-faults` it is all of them."""
MOMENTS = sized(10, 1000)
LIKE_OTHERS = {"full_base": 6, "delta": 6, "schema_change": 6, "compact": 6}
"""Scenarios that pass what others pass, too: at how many points `make test` kills them."""
EFFECTS = {
    "file.create", "file.write", "file.cut", "file.rename", "file.remove", "folder.create", "folder.remove",
    "catalog.commit", "consumers.commit",
}  # fmt: skip
"""Steps after which a process that is killed leaves another disk than before. A sync is none, nor is a mere marker."""


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    """The warm process of this module."""
    with Crasher() as crasher:
        yield crasher


def distinct(points: list[str]) -> list[int]:
    """The numbers of the points to kill at: all, or in `make test` those where the disk may look different.

    Writes are buffered until the file is synced, so the last of a row of them stands for all.
    """
    if FULL:
        return list(range(len(points)))
    chosen = [0]
    for i, point in enumerate(points[:-1]):
        if point in EFFECTS and not point == points[i + 1] == "file.write":
            chosen.append(i + 1)
    return chosen


def shapes(files: set[str]) -> list[str]:
    """The kinds of files that are there, without the numbers of cycles and the random part of their names."""
    return sorted(name.split("cycle-")[0] + name.rpartition("/")[2].rpartition("-")[2] for name in files)


class Trial:
    """One scenario whose beginning is kept, so that it can be begun again and again."""

    def __init__(self, world: World, crasher: Crasher, name: str) -> None:
        self.world, self.crasher, self.name = world, crasher, name
        self.scenario = SCENARIOS[name]
        self.scenario.prepare(world)
        self.old = self.look()
        self.begin = self.keep("begin")
        self.points: list[str] = self.run("act")["points"]
        self.new = self.look()
        self.final = self.settled()
        self.whole = shapes(world.files())
        assert self.points

    def run(self, part: str, **kill: Any) -> dict[str, Any]:
        self.world.close()
        return self.crasher.run(self.world.folder, self.name, part, **kill)

    def keep(self, name: str) -> Path:
        """A copy of the folder as it is now."""
        self.world.close()
        kept = self.world.folder.with_name(f"{self.world.folder.name}-{name}")
        shutil.copytree(self.world.folder, kept)
        return kept

    def restore(self, kept: Path) -> None:
        self.world.close()
        shutil.rmtree(self.world.folder)
        shutil.copytree(kept, self.world.folder)

    def look(self) -> Any:
        return self.scenario.look(self.world)

    def settled(self) -> Any:
        """What is shown after the recovery, which must work at once."""
        self.scenario.recover(self.world.project)
        return self.look()

    def verify(self, where: str) -> bool:
        """After a kill: the old state or the new one, then the same end and the same files; returns whether new."""
        found = self.look()
        assert found in (self.old, self.new, self.final), where
        assert self.settled() == self.final, where
        assert shapes(self.world.files()) == self.whole, where
        return bool(found == self.new)


@pytest.fixture
def kept(world: World) -> Iterator[None]:
    """The copies beside the world's folder go with it."""
    yield
    for path in world.folder.parent.glob(f"{world.folder.name}-*"):
        shutil.rmtree(path)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_any_point_and_again_in_the_recovery(world: World, crasher: Crasher, name: str, seed: int) -> None:
    trial = Trial(world, crasher, name)
    chance = random.Random(seed)
    firsts = distinct(trial.points)
    if not FULL and name in LIKE_OTHERS:
        firsts = sorted(chance.sample(firsts, LIKE_OTHERS[name]))
    again = set(firsts) if FULL else set(chance.sample(firsts, min(PAIRS, len(firsts))))
    outcomes, pairs = set(), 0
    for first in firsts:
        trial.restore(trial.begin)
        assert trial.run("act", kill_at=first)["killed"], f"point {first} was not reached"
        where = f"{name} killed at {first}: {trial.points[first]}"
        if first in again:
            dead = trial.keep("dead")
            points = trial.run("recover")["points"]
            for second in distinct(points) if FULL else chance.sample(range(len(points)), min(1, len(points))):
                trial.restore(dead)
                told = trial.run("recover", kill_at=second)
                assert told["killed"], f"{where}: point {second} of the recovery was not reached"
                trial.verify(f"{where}, then at {second}: {points[second]}")
                pairs += 1
            trial.restore(dead)
            shutil.rmtree(dead)
        outcomes.add(trial.verify(where))
    print(f"{name}: {len(firsts)} of {len(trial.points)} points, {pairs} of them crossed with a second kill")  # noqa: T201
    if FULL or name not in LIKE_OTHERS:
        assert outcomes == ({True, False} if trial.old != trial.new else {True})


@pytest.mark.usefixtures("kept")
def test_a_kill_at_a_random_moment(world: World, crasher: Crasher, seed: int) -> None:
    """Also in the middle of a write, and of the databases' own work; half of the recoveries are killed, too."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    names = chance.sample(sorted(SCENARIOS), min(len(SCENARIOS), max(2, MOMENTS // 20)))
    for number, name in enumerate(names):
        own = World(world.folder / name)
        trial = Trial(own, crasher, name)
        trial.restore(trial.begin)
        seconds = trial.run("act")["seconds"]
        for _ in range(MOMENTS // len(names) + (number < MOMENTS % len(names))):
            trial.restore(trial.begin)
            moments = [chance.uniform(0, seconds)]
            killed = trial.run("act", kill_after=moments[0])["killed"]
            if chance.random() < 0.5:
                moments.append(chance.uniform(0, seconds))
                trial.run("recover", kill_after=moments[1])
            new = trial.verify(f"{name} killed after {moments} s")
            outcomes[f"{'killed' if killed else 'over before'}, {'new' if new else 'old'}"] += 1
        own.close()
    print(f"{sum(outcomes.values())} random moments: {dict(outcomes)}")  # noqa: T201


@pytest.mark.usefixtures("kept")
def test_every_point_of_the_road_is_swept(world: World, crasher: Crasher) -> None:
    """Each point that the source code names is passed by a scenario, which is killed there."""
    swept: Counter[str] = Counter()
    for name, scenario in SCENARIOS.items():
        own = World(world.folder / name)
        scenario.prepare(own)
        scenario.look(own)
        own.close()
        swept.update(crasher.run(own.folder, name)["points"])
    package = Path(__file__).parents[2] / "differ"
    named = {
        point for path in package.rglob("*.py") for point in re.findall(r'seam\.at\(\s*"([\w.]+)"', path.read_text())
    }
    for point in sorted(named):
        print(f"{point:20} {swept[point]:5} times in {len(SCENARIOS)} scenarios")  # noqa: T201
    assert named - set(swept) == set()
    assert set(swept) - named == set()
