"""Whatever is done to a whole project, in any order: state, events and consumers are what a simple model says.

Scans (changed, unchanged, broken, held), schema changes, new bases, compaction, retention, sweeps, checks, SIGKILL at
any point of any of these in another process, and consumers that poll, crash, bootstrap and share their keys, also while
all that goes on. After each step: snapshot == model, the fold of the events == model, SCNs ascend by one and are never
used again; a consumer that was left alone holds the model's rows, whatever happened to it before.
"""

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from differ.catalog.pins import Pins
from differ.snapshots import pages
from tests.cycle.conftest import IN_MEMORY
from tests.faults.conftest import sized
from tests.faults.crashing import Crasher
from tests.faults.followers import NAMES, Follower
from tests.faults.whole import SOURCES, Row, Whole
from tests.server.relay import Relay

STEPS = int(os.environ.get("DIFFER_STEPS") or sized(180, 100_000))
STEPS_OF_LIFE = 40
"""So many steps a project lives."""
LIVES = sized(5, 25)
"""So many projects are tried under one seed."""
RETENTION: dict[str, dict[str, Any]] = {
    "what consumers need is kept": {"age": "0s", "size": 0},
    "not much is kept": {"age": "0s", "size": 0, "hold_for_consumers": 60_000},
    "all is kept": {},
}

names = st.sampled_from(list(SOURCES))
keys = st.one_of(st.sets(st.integers(1, 12), min_size=7), st.sets(st.integers(1, 12))).map(sorted)
flavours = st.integers(0, 7)
points = st.one_of(st.integers(0, 40), st.integers(0, 140))


def rows(keys: list[int], flavour: int) -> list[Row]:
    """Rows of these keys; the flavour moves values, and says whether `n` has fractions and whether there is a `w`."""
    found: list[Row] = []
    for key in keys:
        n = None if key % 5 == 0 else key % 3 + (0.5 if flavour >= 4 and key % 4 == 0 else 0)
        row: Row = {"id": key, "v": f"v{key * flavour % 3}", "n": n}
        if flavour % 4 >= 2:
            row["w"] = None if flavour % 2 else f"w{key % 2}"
        found.append(row)
    return found


class WholeSystem(RuleBasedStateMachine):
    """One project with its relay and consumers; it lives STEPS_OF_LIFE steps."""

    crasher: ClassVar[Crasher]
    seen: ClassVar[Counter[str]] = Counter()
    """How often each thing was done or came about; `steps` is all that was done."""

    @initialize(retention=st.sampled_from(list(RETENTION)), first=keys)
    def begin(self, retention: str, first: list[int]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="differ-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.whole = Whole(self.folder, self.crasher, RETENTION[retention])
        self.is_tight = "hold_for_consumers" in RETENTION[retention]
        self.relay = Relay(self.whole.world.project).start()
        self.followers = {name: Follower(self.whole, self.relay.url, name, self.seen) for name in NAMES}
        self.whole.floors_raised = lambda source: self.all_may_bootstrap()
        self.whole.scan("whole", rows(first, 0))

    def teardown(self) -> None:
        if hasattr(self, "relay"):
            self.relay.stop(grace_seconds=1)
            self.whole.world.close()
            shutil.rmtree(self.folder)

    def all_may_bootstrap(self) -> None:
        for follower in self.followers.values():
            follower.may_bootstrap = True

    def counted(self, what: str) -> None:
        self.seen.update(("steps", what))
        if self.is_tight:
            self.all_may_bootstrap()

    # -- scans -----------------------------------------------------------------------------------------------------

    @rule(name=names, keys=keys, flavour=flavours)
    def scan(self, name: str, keys: list[int], flavour: int) -> None:
        self.counted("scan")
        self.whole.scan(name, rows(keys, flavour))

    @rule(name=names, data=st.data())
    def scan_again(self, name: str, data: st.DataObject) -> None:
        """What is there, but for one row: the columns stay."""
        self.counted("scan again")
        source = self.whole.sources[name]
        here = [dict(row) for _, row in sorted(source.state.items())]
        if here and data.draw(st.booleans()):
            here[data.draw(st.integers(0, len(here) - 1))]["v"] = data.draw(st.sampled_from(["x", "y"]))
        self.whole.scan(name, here)

    @rule(name=names, keys=keys, flavour=flavours)
    def broken_scan(self, name: str, keys: list[int], flavour: int) -> None:
        self.counted("broken scan")
        self.whole.fail(name, rows(keys, flavour))

    @rule(name=names, keys=keys.filter(len), flavour=flavours)
    def key_twice(self, name: str, keys: list[int], flavour: int) -> None:
        self.counted("key twice")
        given = rows(keys, flavour)
        self.whole.fail(name, [*given, given[0]], breaks_off=False)

    @rule(name=names, keys=keys, flavour=flavours)
    def dry_run(self, name: str, keys: list[int], flavour: int) -> None:
        self.counted("dry run")
        self.whole.dry_run(name, rows(keys, flavour))

    @rule(name=names, keys=keys, flavour=flavours)
    def rebaseline(self, name: str, keys: list[int], flavour: int) -> None:
        self.counted("rebaseline")
        self.whole.rebaseline(name, rows(keys, flavour))

    @precondition(lambda self: self.held())
    @rule(action=st.sampled_from(["approve", "reject"]), data=st.data())
    def end_held(self, action: str, data: st.DataObject) -> None:
        self.counted("end held")
        self.whole.end_held(data.draw(st.sampled_from(self.held())), action)

    def held(self) -> list[str]:
        return [name for name, source in self.whole.sources.items() if source.held is not None]

    # -- care ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.free())
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        self.counted("compact")
        self.whole.compact(data.draw(st.sampled_from(self.free())))

    def free(self) -> list[str]:
        return [name for name, source in self.whole.sources.items() if source.born and source.held is None]

    @rule()
    def gc(self) -> None:
        self.counted("gc")
        self.whole.gc()

    @rule()
    def check(self) -> None:
        self.counted("check")
        self.whole.check()

    @rule()
    def leases_end(self) -> None:
        """Of all bootstraps that are under way."""
        self.counted("leases end")
        pins = Pins(self.whole.world.project.consumers)
        for pin in pins.all():
            pins.remove(pin.id)

    # -- crashes ---------------------------------------------------------------------------------------------------

    @rule(
        action=st.sampled_from(["scan", "scan", "scan", "rebaseline"]),
        name=names,
        keys=keys,
        flavour=flavours,
        point=points,
    )
    def kill_scan(self, action: str, name: str, keys: list[int], flavour: int, point: int) -> None:
        self.killed(action, name, point, rows(keys, flavour))

    @precondition(lambda self: self.free())
    @rule(action=st.sampled_from(["compact", "gc"]), point=points, data=st.data())
    def kill_care(self, action: str, point: int, data: st.DataObject) -> None:
        self.killed(action, data.draw(st.sampled_from(self.free())), point, [])

    @precondition(lambda self: self.held())
    @rule(action=st.sampled_from(["approve", "reject"]), point=points, data=st.data())
    def kill_end_held(self, action: str, point: int, data: st.DataObject) -> None:
        self.killed(action, data.draw(st.sampled_from(self.held())), point, [])

    def killed(self, action: str, name: str, point: int, given: list[Row]) -> None:
        self.counted(f"in a process that may be killed: {action}")
        self.seen["killed"] += self.whole.kill(action, name, given, point)

    # -- consumers -------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["all", "all", "half", "half", "pair"]))
    def catch_up(self, name: str) -> None:
        self.counted("catch up")
        self.followers[name].agrees()

    @rule(
        name=st.sampled_from(["all", "half"]),
        crash_at=st.none() | st.integers(0, 25),
        at=st.integers(0, 12),
        source=names,
        keys=keys,
        flavour=flavours,
        act=st.sampled_from(["nothing", "scan", "rebaseline", "leases_end"]),
    )
    def poll(
        self, name: str, crash_at: int | None, at: int, source: str, keys: list[int], flavour: int, act: str
    ) -> None:
        """Something happens in the middle of a run, which may end in the middle, too."""
        self.counted("poll")
        acts: dict[str, Callable[[], None]] = {
            "scan": lambda: self.whole.scan(source, rows(keys, flavour)),
            "rebaseline": lambda: self.whole.rebaseline(source, rows(keys, flavour)),
            "leases_end": self.leases_end,
        }
        self.followers[name].run(crash_at, {at: acts[act]} if act in acts else {})

    @rule(crash_at=st.integers(0, 25))
    def poll_together(self, crash_at: int) -> None:
        """One of two members of the group ends in the middle."""
        self.counted("poll together")
        self.followers["pair"].run(crash_at, {})

    @rule(name=st.sampled_from(NAMES))
    def reset(self, name: str) -> None:
        """It bootstraps the next time."""
        self.counted("reset")
        self.followers[name].reset()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three rows, so that a bootstrap can end in its middle."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 3)


@pytest.mark.usefixtures("small_pages")
def test_whole_system(seed: int) -> None:
    began = time.monotonic()
    found = settings(
        max_examples=LIVES,
        stateful_step_count=STEPS_OF_LIFE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    WholeSystem.seen = seen = Counter()
    with Crasher() as crasher:
        WholeSystem.crasher = crasher
        while seen["steps"] < STEPS:
            sys.stdout.write(f"DIFFER_SEED={seed} after {seen['steps']} steps, {time.monotonic() - began:.0f} s\n")
            sys.stdout.flush()
            run_state_machine_as_test(hypothesis.seed(seed)(WholeSystem), settings=found)
            seed += 1
    sys.stdout.write("".join(f"{count:8} {what}\n" for what, count in seen.most_common()))
