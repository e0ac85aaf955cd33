"""A bootstrap pins one moment: the states of its sources and the SCN to go on from, whatever is committed meanwhile."""

from typing import Any

from sqlalchemy import event

from differ.catalog.pins import Pins
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered

__all__ = ["world"]


def test_a_commit_between_two_looks_at_the_catalog(world: World) -> None:
    """Committed just after the first look ends, it is in all that is pinned, or in nothing."""
    for source in ("a", "b"):
        world.fed(source, numbered("old"), snapshots={"keep": 9})
        world.commit(source)
    catalog = world.project.catalog
    waiting = [("a", "b")]

    def after_a_look(*details: Any) -> None:
        for source in waiting.pop() if waiting else ():
            world.commit(source, numbered("new"))

    event.listen(catalog.engine, "checkin", after_a_look)
    try:
        pins = Pins(world.project.consumers)
        pin = pins.create(catalog, ["a", "b"], consumer="c", partition=None, lease_seconds=600.0)
    finally:
        event.remove(catalog.engine, "checkin", after_a_look)
    assert catalog.stream().head_scn == 4
    for source, cycle in pin.sources.items():
        until = [found.cycle for found in catalog.cycles(source) if (found.scn_last or 0) <= pin.scn]
        assert cycle == max(until)
