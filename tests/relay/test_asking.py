"""An answer may look through nothing at all: it then says where the stream stands there, also in mid-segment."""

from differ.relay.answer import Selection, plan
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered

__all__ = ["world"]


def test_every_place_can_be_asked_for_without_reading(world: World) -> None:
    for source in ("orders", "customers"):
        world.fed(source, numbered("a", "b", "c"))
        world.commit(source)
    for sources in ((), ("orders",), ("customers",)):
        for since in range(7):
            answer = plan(world.project.catalog, since, Selection(sources=sources), limit=0)
            assert answer.cursor.scn >= since
            left = plan(world.project.catalog, answer.cursor, Selection(sources=sources))
            begun = plan(world.project.catalog, since, Selection(sources=sources))
            assert sum(part.count for part in left.parts) == sum(part.count for part in begun.parts)
