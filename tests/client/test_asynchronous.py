"""The form for asyncio: the same events, bounded, and ended at once when left."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing

import pytest

from differ.client import Client
from differ.errors import ScnAheadError
from tests.cycle.world import World, numbered
from tests.server.relay import Relay


@pytest.fixture
def relay(world: World, serve: Callable[..., Relay]) -> Relay:
    world.fed("orders")
    for version in range(8):
        world.commit("orders", numbered(*(f"{version}-{number}" for number in range(5))))
    return serve()


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "differ-read-async"]


def test_events_are_the_same(relay: Relay) -> None:
    async def read() -> list[int]:
        return [event.scn async for event in Client(relay.url).events_async(["orders"], since=10)]

    assert asyncio.run(read()) == list(range(11, 41))
    assert readers() == []


def test_following_wakes_for_new_events_and_ends_when_left(world: World, relay: Relay) -> None:
    async def read() -> list[int]:
        found = []
        async with aclosing(Client(relay.url).events_async(follow=True, since=38)) as events:  # type: ignore[type-var]
            async for event in events:
                found.append(event.scn)
                if event.scn == 40:
                    await asyncio.to_thread(world.commit, "orders", numbered("x"))
                if event.scn > 40:
                    break
        assert readers() == [], "the thread outlives the iteration"
        return found

    assert asyncio.run(asyncio.wait_for(read(), 30))[:3] == [39, 40, 41]
    assert readers() == []


def test_a_task_that_is_cancelled_leaves_no_thread(relay: Relay) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def read() -> None:
            async for _ in Client(relay.url).events_async(follow=True):
                started.set()

        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert readers() == []


def test_errors_are_raised(relay: Relay) -> None:
    async def read() -> None:
        async for _ in Client(relay.url).events_async(since=99):
            pass

    with pytest.raises(ScnAheadError):
        asyncio.run(read())
