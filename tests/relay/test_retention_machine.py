"""Whatever is committed, pinned, followed and let go, in any order: a pin keeps all it names, a consumer its way."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from differ.catalog.pins import Pin, Pins
from differ.formats.checkpoint import StreamCheckpoint
from tests.cycle.conftest import IN_MEMORY
from tests.cycle.world import State, World, numbered
from tests.relay.timeline import cursor

SOURCES = ("a", "b")
subscriptions = st.sampled_from([(), ("a",), ("b",), ("a", "b")])


@dataclass
class Following:
    """A consumer of the model: where it stands, what it follows, and whether the relay would still answer it."""

    scn: int
    sources: tuple[str, ...]
    can_go_on: bool = True


@dataclass
class Held:
    """A pin of the model, with the states that it must keep."""

    pin: Pin
    states: dict[str, State] = field(default_factory=dict)


class RetentionMachine(RuleBasedStateMachine):
    """Two sources of which next to nothing is kept."""

    @initialize(size=st.sampled_from([1, 12_000]), keep=st.integers(1, 2))
    def begin(self, size: int, keep: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="differ-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.world = World(self.folder, relay={"retention": {"size": size}})
        self.pins: list[Held] = []
        self.consumers: dict[str, Following] = {}
        self.events: list[tuple[int, str]] = []
        for source in SOURCES:
            self.world.fed(source, snapshots={"keep": keep, "small_base": 0, "delta_share": "100%"})
            self.commit(source, 3)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.folder)

    @rule(source=st.sampled_from(SOURCES), count=st.integers(1, 3))
    def commit(self, source: str, count: int) -> None:
        """Every row is new: `count` updates or inserts, and perhaps deletes."""
        value = len(self.events)
        result = self.world.commit(source, numbered(*range(value, value + count)))
        self.events += [(scn, source) for scn in range(result.scn_first or 1, (result.scn_last or 0) + 1)]
        after = self.world.project.catalog.stream().kept_after_scn
        for consumer in self.consumers.values():
            if consumer.can_go_on and consumer.scn < after:
                unread = [
                    name
                    for scn, name in self.events
                    if consumer.scn < scn <= after and name in (consumer.sources or SOURCES)
                ]
                assert not unread, "events went that a consumer had not read"
                consumer.can_go_on = False

    @rule(sources=st.sampled_from([("a",), ("b",), ("a", "b")]))
    def pin(self, sources: tuple[str, ...]) -> None:
        place = self.world.project.place
        made = Pins(place.consumers).create(place.catalog, sources, consumer="p", partition=None, lease_seconds=600.0)
        self.pins.append(Held(made, {source: self.world.state(source) for source in sources}))

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        held = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
        assert Pins(self.world.project.consumers).remove(held.pin.id)

    @rule(name=st.sampled_from(["x", "y"]), sources=subscriptions, data=st.data())
    def follow(self, name: str, sources: tuple[str, ...], data: st.DataObject) -> None:
        stream = self.world.project.catalog.stream()
        scn = data.draw(st.integers(stream.kept_after_scn, stream.head_scn))
        checkpoint = StreamCheckpoint(cursor=cursor(self.world.project.catalog, scn))
        self.world.project.consumers.put(name, checkpoint=checkpoint, sources=sources)
        self.consumers[name] = Following(scn, sources)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.consumers)))
        assert self.world.project.consumers.remove(name)
        del self.consumers[name]

    @invariant()
    def what_is_pinned_is_kept(self) -> None:
        for held in getattr(self, "pins", []):
            for source, state in held.states.items():
                assert self.world.state(source, held.pin.scn) == state
            found = [event.scn for event in self.world.project.events(since=held.pin.scn)]
            assert found == list(range(held.pin.scn + 1, len(self.events) + 1))

    @invariant()
    def who_can_go_on_can_be_verified(self) -> None:
        for consumer in getattr(self, "consumers", {}).values():
            if consumer.can_go_on:
                assert self.world.project.catalog.standing(consumer.scn).chain is not None


TestRetentionMachine = RetentionMachine.TestCase
TestRetentionMachine.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
