"""Each call to the disk fails once, with ENOSPC and with EIO: the old state or the new one is served, nothing that is
damaged or lost is referred to, and once the disk is well again the same process simply goes on.

A sync that failed is final for its file: the system may have dropped what it could not write, and the next sync of the
same file succeed without it. Source: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020.
"""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from differ.errors import DifferError
from differ.storage import seam
from tests.cycle.conftest import world
from tests.cycle.world import World
from tests.faults.conftest import sized
from tests.faults.scenarios import SCENARIOS

__all__ = ["world"]

CODES = (errno.ENOSPC, errno.EIO)
FAULTS = sized(5, 10_000)
"""How many faults are tried in each scenario, each in a run of its own; at most each call with each code."""
SIZES = sized(3, 60)
CALLS = ("file.", "folder.")


class Failing:
    """Fails at the call of that number, once; and complains when a file whose sync failed is used on."""

    def __init__(self, at: int | None, code: int) -> None:
        self.at, self.code = at, code
        self.calls: list[seam.Step] = []
        self.broken: Path | None = None

    def __enter__(self) -> "Failing":
        self._end = seam.watch(self._see)
        return self

    def __exit__(self, *details: object) -> None:
        self._end()

    def _see(self, step: seam.Step) -> None:
        if not step.point.startswith(CALLS):
            return
        number = len(self.calls)
        self.calls.append(step)
        if step.path == self.broken:
            assert step.point not in ("file.fsync", "file.rename"), f"{step.path} was used on after its sync failed"
            if step.point in ("file.create", "file.cut", "file.remove"):
                self.broken = None
        if number == self.at:
            if step.point == "file.fsync":
                self.broken = step.path
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_call_fails_once(world: World, name: str, seed: int) -> None:
    scenario, chance = SCENARIOS[name], random.Random(seed)
    kept = world.folder / "kept"
    own = World(world.folder / "project")
    scenario.prepare(own)
    old = scenario.look(own)
    own.close()
    shutil.copytree(own.folder, kept)
    with Failing(None, 0) as whole:
        scenario.act(own.project)
    new = scenario.look(own)
    scenario.recover(own.project)
    final = scenario.look(own)
    faults = [(number, code) for number in range(len(whole.calls)) for code in CODES]
    failed = 0
    for number, code in sorted(chance.sample(faults, min(FAULTS, len(faults)))):
        own.close()
        shutil.rmtree(own.folder)
        shutil.copytree(kept, own.folder)
        with Failing(number, code) as failing, suppress(DifferError):
            failed += 1
            scenario.act(own.project)
            failed -= 1
        where = (
            f"{name}: {errno.errorcode[code]} at {number}, {failing.calls[number].point} {failing.calls[number].path}"
        )
        assert scenario.look(own) in (old, new), where
        scenario.recover(own.project)
        assert scenario.look(own) == final, where
    own.close()
    print(f"{name}: {min(FAULTS, len(faults))} of {len(faults)} faults, {failed} of them failed the whole")  # noqa: T201


CHILD = """
import json, os, sys
from pathlib import Path
import differ
from tests.cycle.world import World
from tests.faults import cycling
disk, free, seed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
world = World(disk / "project")
cycling.full_base(world)
old = cycling.look(world)
filler = disk / "filler"
room = os.statvfs(disk)
size = room.f_bavail * room.f_frsize - free
filler.write_bytes(bytes(max(0, size)))
first = world.scan("orders")
filler.unlink()
middle = cycling.look(world)
second = world.scan("orders")
new = cycling.look(world)
assert new[0] > old[0] and second.status in ("committed", "unchanged"), second
assert middle == (old if first.status == "failed" else new), (first, middle)
assert first.status in ("committed", "failed"), first
assert first.status == "committed" or first.exit_code == 3, first
print(json.dumps({"status": first.status, "error": first.error}))
"""


def test_a_small_disk_that_is_really_full(tmp_path: Path, seed: int) -> None:
    """A tmpfs in a user namespace of its own, with so many bytes left, from none to enough."""
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=8m tmpfs "$1" && shift && exec "$@"'
    allowed = subprocess.run([*inside, mount, "sh", str(tmp_path), "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no tmpfs in a user namespace here: {allowed.stderr.decode().strip()}")
    chance = random.Random(seed)
    sizes = [0, *(chance.randrange(4096, 160_000) for _ in range(SIZES - 2)), 1 << 20]
    statuses = set()
    for free in sizes:
        command = [*inside, mount, "sh", str(tmp_path), sys.executable, "-c", CHILD, str(tmp_path), str(free), "0"]
        ran = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=100
        )
        assert ran.returncode == 0, f"{free} bytes free: {ran.stderr[-3000:]}"
        told = json.loads(ran.stdout.splitlines()[-1])
        assert told["status"] == "committed" or "unexpected" not in told["error"], told
        statuses.add(told["status"])
    assert statuses == {"committed", "failed"}
