"""One consumer of many whose callback does not return: the others, the head and the stalled one itself lose nothing."""

import threading
from collections.abc import Callable
from typing import Any

from differ.client import Client
from tests.client.recorder import Recorder
from tests.cycle.world import World, numbered
from tests.server.relay import Relay


def test_others_go_on_and_what_it_has_not_read_is_kept(world: World, serve: Callable[..., Relay]) -> None:
    """Retention would let everything go at once, were it not for the one that is behind."""
    world.settings["relay"] = {"retention": {"age": "0s"}}
    world.fed("orders", numbered("a", "b"))
    relay = serve()
    stalled, going_on = threading.Event(), threading.Event()

    def stall(event: Any) -> None:
        stalled.set()
        assert going_on.wait(60)

    slow, others = Recorder(stall), [Recorder() for _ in range(4)]
    options: dict[str, Any] = {"start": "oldest", "until_head": True}
    thread = threading.Thread(target=lambda: Client(relay.url).run(slow, name="slow", **options))
    for number, other in enumerate(others):
        Client(relay.url).run(other, name=f"other {number}", **options)
    relay.call("PUT", "/v1/consumers/slow", {"checkpoint": {"kind": "stream", "cursor": relay.stream().cursor}})
    world.commit("orders")
    thread.start()
    try:
        assert stalled.wait(30)
        for value in range(5):
            world.commit("orders", numbered("a", str(value)))
            for number, other in enumerate(others):
                Client(relay.url).run(other, name=f"other {number}", **options)
        assert [other.scns for other in others] == [list(range(1, 8))] * 4
    finally:
        going_on.set()
        thread.join(60)
    Client(relay.url).run(slow, name="slow", bootstrap="never", **options)
    assert slow.scns == list(range(1, 8)), "it was held for until it read on"
    world.commit("orders", numbered("a", "z"))
    assert world.project.catalog.stream().oldest_scn > 2, "and no longer"
