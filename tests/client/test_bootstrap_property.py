"""Whatever happens, and whenever: in the end every consumer holds the state of its sources.

A schedule of commits, schema changes, new bases, retention that keeps nothing, leases that end, and runs of three
consumers (all keys, and the two halves), each with stale rows from the start. Any of it may also happen in the middle
of a run, at any callback, and any callback may be the last of its process.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, currently_in_test_context, event, given, settings
from hypothesis import strategies as st

from differ.catalog.pins import Pins
from differ.client import Client, Pace, Retries
from differ.errors import UsageError
from differ.formats.partitions import Partitions
from differ.snapshots import pages
from tests.client.mirror import Mirror, Store, is_in
from tests.cycle.world import DELTAS, World
from tests.server.relay import Relay

IN_MEMORY = Path("/dev/shm")
SOURCES = ("busy", "quiet", "based")
"""quiet: seldom has a cycle. based: its first cycle, and others, make a new base without events."""
CONSUMERS = (None, "0/2", "1/2")
PATIENT = Retries(attempts=3, first_seconds=0, most_seconds=0)
ALWAYS = Pace(checkpoint_events=1, checkpoint_seconds=0, batch_events=2)
RETENTION: dict[str, dict[str, Any]] = {
    "nothing is kept": {"age": "0s", "size": 0, "hold_for_consumers": 0},
    "what consumers need is kept": {"age": "0s", "size": 0},
    "all is kept": {},
}


CALLBACKS = 25
"""More than a bootstrap of ten rows or so makes."""


class Crash(BaseException):
    """The process of a consumer ends here."""


def told(what: str) -> None:
    """Count something for hypothesis' statistics."""
    if currently_in_test_context():
        event(what)


KEYS = st.sets(st.integers(1, 14)).map(sorted)
ACTS: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("commit"), st.sampled_from(("busy", "busy", "based", "quiet")), KEYS, st.integers(0, 3)),
    st.tuples(st.just("rebase"), st.sampled_from(SOURCES), KEYS, st.integers(0, 3)),
    st.tuples(st.just("compact"), st.sampled_from(SOURCES), st.just([]), st.just(0)),
    st.tuples(st.just("expire"), st.just(""), st.just([]), st.just(0)),
)
MOMENTS = st.dictionaries(st.integers(0, 14), ACTS, max_size=3)
CRASHES = st.lists(st.integers(2, 12) | st.integers(0, 20), max_size=4)
RUNS = st.tuples(st.just("run"), st.sampled_from(CONSUMERS), MOMENTS, CRASHES)
STEPS = st.lists(st.one_of(RUNS, RUNS, ACTS), min_size=3, max_size=8)
FIRST = st.fixed_dictionaries({"busy": st.sets(st.integers(1, 14), min_size=6).map(sorted)}, optional={"based": KEYS})


class Play:
    """A project with its relay, and three consumers of it that live through crashes."""

    def __init__(self, world: World, relay: Relay) -> None:
        self.world, self.relay = world, relay
        self.stores = {text: Store() for text in CONSUMERS}
        self.held = {text: Mirror() for text in CONSUMERS}
        for text, mirror in self.held.items():
            mine = [n for n in range(1, 5) if text is None or is_in(Partitions.parse(text), n)]
            mirror.rows = {("busy", f"stale {n}"): ({"id": -n, "v": "stale"}, "before", n) for n in mine}

    def act(self, act: tuple[str, str, list[int], int]) -> None:
        """Something that happens to the project."""
        kind, source, keys, flavour = act
        world = self.world
        if kind == "commit":
            world.give(source, rows(keys, flavour))
            world.commit(source)
        elif kind == "rebase":
            world.give(source, rows(keys, flavour))
            world.project.rebaseline(source)
        elif kind == "compact":
            if world.project.catalog.snapshot_cycle(source) is not None:
                world.project.compact(source)
        else:
            pins = Pins(world.project.consumers)
            for pin in pins.all():
                pins.remove(pin.id)

    def run(self, text: str | None, moments: dict[int, Any], crash_at: int | None) -> None:
        """Run a consumer up to the head, or until its process ends at its callback number `crash_at`.

        moments: what happens meanwhile, by the number of the callback before which it does; each happens once.
        """
        before = self.held[text]
        mirror = Mirror(self._hook(moments, crash_at))
        mirror.rows, mirror.generation = before.rows, before.generation
        self.held[text] = mirror
        stood = self.stores[text].checkpoint
        try:
            Client(self.relay.url).run(
                mirror,
                name=f"index {text}",
                partition=text,
                checkpoints=self.stores[text],
                until_head=True,
                retries=PATIENT,
                pace=ALWAYS,
            )
        except Crash:
            told("a crash")
        for name in ("rollback", "bootstrap_end"):
            if mirror.of(name):
                told(name)
        if any(begun.resumed for begun in mirror.of("bootstrap_start")):
            told(f"resumed {'at a page' if getattr(stood, 'page', None) else 'at the beginning'}")

    def _hook(self, moments: dict[int, Any], crash_at: int | None) -> Callable[[str], None]:
        count = -1

        def hook(name: str) -> None:
            nonlocal count
            count += 1
            if count in moments:
                act = moments.pop(count)
                told(f"{act[0]} in {name}")
                self.act(act)
            if count == crash_at:
                raise Crash

        return hook

    def check(self) -> None:
        """Every consumer that is left alone gets to the state of the sources."""
        for text in CONSUMERS:
            self.run(text, {}, None)
        for source in SOURCES:
            names, expected = self.state(source)
            whole, first, second = (shown(self.held[text], source, names) for text in CONSUMERS)
            assert whole == expected, source
            assert not first.keys() & second.keys()
            assert first | second == expected, source

    def state(self, source: str) -> tuple[Sequence[str], dict[int, dict[str, Any]]]:
        """The columns and the rows of a source by id; nothing before its first cycle."""
        try:
            snapshot = self.world.project.snapshot(source)
        except UsageError:
            return [], {}
        return snapshot.schema.names, {row["id"]: row for row in snapshot.to_arrow().to_pylist()}


def rows(keys: list[int], flavour: int) -> list[dict[str, Any]]:
    """Rows of these keys; the flavour moves values, and by its parity decides whether there is a second column."""
    more = {"w": f"w{flavour}"} if flavour % 2 else {}
    return [{"id": key, "v": f"v{key * flavour % 3}", **more} for key in keys]


def shown(mirror: Mirror, source: str, names: Sequence[str]) -> dict[int, dict[str, Any]]:
    """What a consumer holds, in the source's present columns."""
    return {row["id"]: {name: row.get(name) for name in names} for row in mirror.state(source)}


@contextmanager
def playing(retention: dict[str, Any]) -> Iterator[Play]:
    folder = Path(tempfile.mkdtemp(prefix="differ-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    world = World(folder, relay={"retention": retention})
    for source in SOURCES:
        more: dict[str, Any] = {"baseline": "snapshot-only"} if source == "based" else {}
        world.fed(source, snapshots=DELTAS | {"keep": 1}, **more)
    relay = Relay(world.project).start()
    try:
        yield Play(world, relay)
    finally:
        relay.stop(grace_seconds=1)
        world.close()
        shutil.rmtree(folder)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(retention=st.sampled_from(list(RETENTION)), first=FIRST, steps=STEPS)
def test_in_the_end_every_consumer_holds_the_state(
    retention: str, first: dict[str, list[int]], steps: list[Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch, playing(RETENTION[retention]) as play:
        patch.setattr(pages, "PAGE_ROWS", 2)
        for source, keys in first.items():
            play.act(("commit", source, keys, 0))
        for step in steps:
            if step[0] != "run":
                play.act(step)
                continue
            _, text, moments, crashes = step
            left = dict(moments)
            for crash_at in crashes or [None]:
                play.run(text, left, crash_at)
        play.check()


def test_any_callback_may_be_the_last_of_its_process() -> None:
    """Each of them, and one more of the process after it: what was not processed always comes."""
    with pytest.MonkeyPatch.context() as patch, playing(RETENTION["all is kept"]) as play:
        patch.setattr(pages, "PAGE_ROWS", 2)
        play.act(("commit", "busy", list(range(1, 10)), 0))
        play.act(("commit", "based", [1, 2, 3], 1))
        names, expected = play.state("busy")
        for crash_at in range(CALLBACKS):
            play.stores[None], play.held[None] = Store(), Mirror()
            for last in (crash_at, crash_at // 2, None):
                play.run(None, {}, last)
            assert shown(play.held[None], "busy", names) == expected, crash_at
