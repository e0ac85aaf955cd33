"""Whatever fails, crashes and is cut: every event is delivered at least once, each key in order, and no checkpoint runs
ahead of what was processed."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differ.client import Checkpoint, Client, Consumer, DeadLetters, FileCheckpoints, Next, Pace, Retries, Retry
from differ.errors import ConsumerError
from differ.model import ChangeEvent, Window
from tests.cycle.world import World
from tests.server.relay import Relay

KEYS, VERSIONS = 6, 6
EVENTS = KEYS * VERSIONS


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """6 keys, each changed in each of 6 windows."""
    world = World(tmp_path_factory.mktemp("promises"))
    world.fed("orders")
    for version in range(VERSIONS):
        world.commit("orders", [{"id": key, "v": version} for key in range(KEYS)])
    relay = Relay(world.project).start()
    yield relay
    relay.stop()
    world.close()


class CrashError(BaseException):
    """The process is gone: nothing after it happens, the checkpoint stays as it was stored."""


class Troubled(Consumer):
    """Does what a plan says at its n-th call; remembers what it processed, over crashes, as a destination would."""

    def __init__(self, plan: dict[int, str], poison: set[int]) -> None:
        self.plan, self.poison = plan, poison
        self.calls = 0
        self.lock = threading.Lock()
        self.processed: set[int] = set()
        self.order: dict[int, list[int]] = defaultdict(list)

    def _act(self) -> Next | None:
        with self.lock:
            self.calls += 1
            act = self.plan.get(self.calls)
        if act == "raise":
            raise ValueError(act)
        if act == "retry":
            raise Retry(act)
        if act == "crash":
            raise CrashError
        return {"checkpoint": Next.CHECKPOINT, "stop": Next.STOP}.get(act or "")

    def on_event(self, event: ChangeEvent) -> Next | None:
        if event.scn in self.poison:
            raise ValueError("poison")
        answer = self._act()
        with self.lock:
            self.processed.add(event.scn)
            self.order[event.key["id"]].append(event.scn)
        return answer

    def on_window_start(self, window: Window) -> Next | None:
        return self._act()

    def on_window_end(self, window: Window) -> Next | None:
        return self._act()

    def on_checkpoint(self, checkpoint: Checkpoint) -> Next | None:
        return self._act()

    def on_rollback(self, checkpoint: Checkpoint) -> Next | None:
        self.begins_after(checkpoint.cursor.scn)
        return None

    def begins_after(self, scn: int) -> None:
        """What is above this SCN comes again; noted as a negative number."""
        for scns in self.order.values():
            scns.append(-scn - 1)


class Watched(FileCheckpoints):
    """Checks each checkpoint against what was processed before it is stored."""

    consumer: Troubled
    letters: DeadLetters

    def save(self, checkpoint: Checkpoint) -> None:
        given_up = {letter.scn for letter in self.letters.pending()}
        missing = set(range(1, checkpoint.cursor.scn + 1)) - self.consumer.processed - given_up
        assert not missing, f"a checkpoint at {checkpoint.cursor.scn} is ahead of {sorted(missing)}"
        super().save(checkpoint)


ACTS = st.sampled_from(["raise", "retry", "crash", "checkpoint", "stop"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.dictionaries(st.integers(1, 3 * EVENTS), ACTS, max_size=12),
    poison=st.sets(st.integers(1, EVENTS), max_size=3),
    workers=st.sampled_from([1, 1, 3]),
    pace=st.builds(
        Pace,
        checkpoint_events=st.integers(1, EVENTS),
        batch_events=st.integers(1, EVENTS),
        checkpoint_seconds=st.sampled_from([0.0, 60.0]),
    ),
)
def test_nothing_is_lost_and_keys_stay_in_order(
    relay: Relay,
    tmp_path_factory: pytest.TempPathFactory,
    plan: dict[int, str],
    poison: set[int],
    workers: int,
    pace: Pace,
) -> None:
    folder: Path = tmp_path_factory.mktemp("run")
    if workers > 1:  # A crash of one thread is no crash of the process.
        plan = {call: "raise" if act == "crash" else act for call, act in plan.items()}
    consumer, store = Troubled(plan, poison), Watched(folder / "c.json")
    store.consumer, store.letters = consumer, DeadLetters(folder / "letters.jsonl")
    runs = 0
    while (stored := store.load()) is None or stored.cursor.scn < EVENTS:
        runs += 1
        consumer.begins_after(0 if stored is None else stored.cursor.scn)
        assert runs <= len(plan) + 1
        try:
            Client(relay.url).run(
                consumer,
                name="index",
                start="oldest",
                until_head=True,
                checkpoints=store,
                register=False,
                dead_letters=store.letters,
                workers=workers,
                pace=pace,
                retries=Retries(attempts=2, first_seconds=0.0, most_seconds=0.0),
            )
        except CrashError:
            pass
        except ConsumerError as halted:
            assert "on_window" in str(halted) or "on_checkpoint" in str(halted)  # noqa: PT017
    given_up = {letter.scn for letter in store.letters.pending()}
    assert consumer.processed | given_up == set(range(1, EVENTS + 1))
    assert poison <= given_up
    for scns in consumer.order.values():
        seen = 0
        for scn in scns:
            if scn < 0:
                seen = -scn - 1
            else:
                assert scn > seen, scns
                seen = scn
