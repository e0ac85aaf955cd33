"""What is done while a process is killed, the power is lost or the disk refuses: one scenario for each durable road.

    prepare   makes a project in which something is about to happen
    act       does it; runs in the process that is killed
    look      what whoever comes afterwards is shown, after checking that all of it is whole
    recover   what is run next, without anybody looking at anything first: it must work at once

What `look` shows is either what it was before `act` or what it is after it, never a third thing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from differ.project import Project
from tests.cycle.world import World
from tests.faults import cycling, following, mending


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """See above."""

    prepare: Callable[[World], None]
    act: Callable[[Project], None] = cycling.scan
    look: Callable[[World], Any] = cycling.look
    recover: Callable[[Project], None] = cycling.settle


def void(result: object) -> None:
    """Throw a result away."""


SCENARIOS: dict[str, Scenario] = {
    "baseline": Scenario(prepare=cycling.shop),
    "full_base": Scenario(prepare=cycling.full_base),
    "delta": Scenario(prepare=cycling.delta),
    "compaction": Scenario(prepare=cycling.compaction),
    "compact": Scenario(
        prepare=cycling.compact, act=lambda project: void(project.compact("orders")), recover=cycling.compact_again
    ),
    "schema_change": Scenario(prepare=cycling.schema_change),
    "hold": Scenario(prepare=cycling.hold),
    "approve": Scenario(prepare=cycling.held, act=lambda project: void(project.approve("orders"))),
    "reject": Scenario(prepare=cycling.held, act=lambda project: void(project.reject("orders"))),
    "retention": Scenario(prepare=cycling.retention),
    "gc": Scenario(prepare=cycling.litter, act=lambda project: void(project.gc()), recover=cycling.gc_again),
    "bootstrap": Scenario(
        prepare=following.pinned, act=following.bootstrap, look=following.look_at_pins, recover=following.let_pins_go
    ),
    "checkpoint_file": Scenario(
        prepare=following.followed,
        act=following.save_to_file,
        look=following.look_at_consumer,
        recover=following.save_to_file,
    ),
    "checkpoint_relay": Scenario(
        prepare=following.followed,
        act=following.save_at_relay,
        look=following.look_at_consumer,
        recover=following.save_at_relay,
    ),
    "dead_letter": Scenario(
        prepare=following.followed, act=following.bury_one, look=following.look_at_consumer, recover=following.bury_one
    ),
    "letters_dropped": Scenario(
        prepare=following.followed,
        act=following.drop_letters,
        look=following.look_at_consumer,
        recover=following.drop_letters,
    ),
    "files_sink": Scenario(
        prepare=following.mirrored,
        act=following.mirror_more,
        look=following.look_at_mirror,
        recover=following.mirror_more,
    ),
    "files_bootstrap": Scenario(
        prepare=following.mirrored,
        act=following.mirror_anew,
        look=following.look_at_mirror,
        recover=following.mirror_anew,
    ),
    "repair_segment": Scenario(
        prepare=mending.damaged_segment, act=mending.repair, look=mending.look_at_damage, recover=mending.repair_again
    ),
    "repair_snapshot": Scenario(
        prepare=mending.damaged_snapshot, act=mending.repair, look=mending.look_at_damage, recover=mending.repair_again
    ),
    "repair_consumers": Scenario(
        prepare=mending.damaged_consumers, act=mending.repair, look=mending.look_at_damage, recover=mending.repair_again
    ),
}
