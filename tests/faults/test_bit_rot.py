"""One flipped bit anywhere: each answer is right or a CorruptionError, check names the file, repair mends it."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import differ
from differ.errors import CorruptionError, NotKeptError
from differ.project import Project
from tests.faults.conftest import sized
from tests.faults.rot import AFTER, BEFORE, SOURCES, Answer, Flip, Rich, asked, drawn, fold, served, state

SHARDS = 20
"""The flips are tried in so many tests, so that several processes can share them."""
OUTSIDE = ("follower.json", "checkpoint.json")
"""What lies where a user wants it: it is named by whoever reads it, and unknown to `check`."""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rich]:
    made = Rich(tmp_path_factory.mktemp("rich") / "project")
    yield made
    made.world.close()


@pytest.mark.parametrize("shard", range(sized(1, SHARDS)))
def test_a_flipped_bit_is_never_served(rich: Rich, tmp_path: Path, seed: int, shard: int) -> None:
    for number in range(sized(40, 10_000 // SHARDS)):
        chance = random.Random(f"{seed}/{shard}/{number}")
        flip = drawn(rich, chance)
        folder = tmp_path / "project"
        shutil.copytree(rich.world.folder, folder)
        try:
            flip(folder)
            trial(rich, folder, flip, chance)
        except BaseException as error:
            error.add_note(f"flip {number} of shard {shard}: {flip}")
            raise
        finally:
            for name, turns in BEFORE.items():
                rich.world.give(name, turns[-1])
            shutil.rmtree(folder)


def trial(rich: Rich, folder: Path, flip: Flip, chance: random.Random) -> None:
    """All of one flip: what is asked is right or refused, then one of several ways to go on."""
    refused = compared(dict(asked(folder)), rich.answers)
    way = chance.choice(["serve", "scan", "repair", "repair"])
    if way == "serve":
        refused |= compared(dict(served(folder)), rich.served)
    findings = []
    with differ.open(folder) as project:
        findings = project.check(read_data=True)
    named = any(flip.place.name in finding.problem for finding in findings)
    if flip.place.name in OUTSIDE:
        assert not findings
        assert all(flip.place.stem in str(error) for error in refused.values())
    else:
        assert named or not refused, (refused, findings)
    if chance.random() < 0.7:
        for name, given in AFTER.items():
            rich.world.give(name, given)
    if way == "scan":
        scan(rich, folder, bool(findings))
    elif way == "repair":
        repair(rich, folder)


def compared(answers: dict[str, Answer], right: dict[str, Answer]) -> dict[str, BaseException]:
    """The answers that were refused; all others must be right."""
    for name, (error, value) in answers.items():
        assert error is not None or value == right[name][1], name
    return {name: error for name, (error, _) in answers.items() if error is not None}


def scan(rich: Rich, folder: Path, is_damaged: bool) -> None:
    """A cycle of every source commits what is right, or fails for what is damaged."""
    with differ.open(folder) as project:
        for name in SOURCES:
            try:
                result = project.scan(name)
            except CorruptionError:
                assert is_damaged
                continue
            if result.status == "failed":
                assert result.exit_code == 5, result
                assert is_damaged
            else:
                follows(rich, project, name, result.status)


def repair(rich: Rich, folder: Path) -> None:
    """What repair can mend is whole again, and whoever needs what is lost is told."""
    with differ.open(folder) as project:
        mendings = project.plan_repair(project.check(read_data=True))
        possible = [mending for mending in mendings if mending.possible]
        if possible:
            quarantine = project.repair(possible)
            assert quarantine.is_dir()
        left = project.check(read_data=True)
        assert bool(left) == (len(possible) < len(mendings)), (mendings, left)
        if left:
            assert all("backup" in mending.step for mending in mendings if not mending.possible)
            return
        for name in SOURCES:
            result = project.scan(name)
            assert result.status in ("committed", "unchanged", "held"), result
            follows(rich, project, name, result.status, is_whole=True)
        assert project.check(read_data=True) == []


def follows(rich: Rich, project: Project, name: str, status: str, *, is_whole: bool = False) -> None:
    """The state is what was read, and a consumer comes to it by the events, or is told to take it instead."""
    given = rich.world.feed(name).splits[0][0] if name in BEFORE else None
    try:
        have = state(project, name)
        if isinstance(given, list) and status != "held" and name != "shaky":
            assert have == {(row["id"],): row for row in given}, name
        assert fold(project, name, rich.middle, rich.rows_there[name]) == have, name
    except NotKeptError:
        pass
    except CorruptionError:
        assert not is_whole
