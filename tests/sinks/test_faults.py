"""Whatever fails, and whenever: in the end the destination holds what the source holds."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from differ.errors import SinkUnavailableError
from tests.server.eventually import eventually
from tests.sinks.memory import Place
from tests.sinks.rig import MEMORY, Rig

STEPS = 25


def faulty(place: Place, chance: random.Random) -> Callable[[str], None]:
    """Fails some calls, before they have an effect or after it, as a lost answer does."""

    def fault(call: str) -> None:
        if chance.random() < 0.3:
            raise SinkUnavailableError(f"{call}: the wire was cut")
        if chance.random() < 0.05:
            place.epoch += 1  # somebody has opened it

    return fault


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [MEMORY, f"{MEMORY}Events"], ids=["state", "events"])
def test_the_state_is_the_sources_in_the_end(rig: Rig, kind: str, seed: int) -> None:
    """Scans, faults, stops, resets and stale rows in any order."""
    chance = random.Random(seed)
    rows: dict[int, int] = {}

    def commit() -> None:
        for _ in range(chance.randrange(1, 40)):
            key = chance.randrange(60)
            if chance.random() < 0.3:
                rows.pop(key, None)
            else:
                rows[key] = chance.randrange(5)
        rig.world.commit("orders", [{"id": key, "v": value} for key, value in sorted(rows.items())])

    commit()
    size, start = chance.choice([1, 7, 1000]), chance.choice(["oldest", "bootstrap"])
    sink = rig.sink(kind=kind, batch={"events": size}, start=start)
    place = rig.place(sink)
    if kind == MEMORY and sink.start == "bootstrap":
        place.rows = {("orders", f"({key},)"): {"id": key, "v": "stale"} for key in range(50, 70)}
    place.fault = faulty(place, chance)
    runner = rig.start(sink)
    for _ in range(STEPS):
        match chance.randrange(5):
            case 0 | 1:
                commit()
            case 2:
                runner.stop()
                runner = rig.start(sink)
            case 3 if kind == MEMORY:
                rig.world.project.consumers.reset("sink.search")
            case _:
                eventually(lambda: place.attempts)
    place.fault = lambda call: None
    commit()
    rig.until_head(runner)
    eventually(lambda: held(place, kind) == rows)
    if kind != MEMORY:
        ordered(place)


def held(place: Place, kind: str) -> dict[int, Any]:
    if kind == MEMORY:
        return {row["id"]: row["v"] for row in place.state("orders")}
    state: dict[int, Any] = {}
    for change in list(place.events):
        if change.document is None:
            state.pop(change.key["id"], None)
        else:
            state[change.key["id"]] = change.document["v"]
    return state


def ordered(place: Place) -> None:
    """Each event first comes after those of its key before it: a replay repeats, and leaves nothing out."""
    firsts: dict[int, list[int]] = {}
    for change in place.events:
        scns = firsts.setdefault(change.key["id"], [])
        if not change.event.baseline and change.scn not in scns:
            scns.append(change.scn)
    assert all(scns == sorted(scns) for scns in firsts.values())
