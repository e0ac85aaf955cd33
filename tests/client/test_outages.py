"""A relay that goes away, a wire that is cut, a consumer that is killed: nothing is lost."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from differ.client import Client, Next, Retries
from differ.errors import RelayUnavailableError, UsageError
from differ.model import ChangeEvent
from tests.client.recorder import Recorder
from tests.cycle.world import World, numbered
from tests.road.proxy import Proxy
from tests.server.relay import Relay
from tests.servers.ports import free_port

QUICK = Retries(first_seconds=0.01, most_seconds=0.05)
EVENTS = 20_000


def relay_at(world: World, port: int) -> Relay:
    from differ.server.app import build_app
    from differ.server.serving import Serving

    relay = Relay(world.project)
    relay.serving = Serving(build_app(relay.services), f"127.0.0.1:{port}")
    return relay.start()


def test_a_relay_that_is_started_again_is_followed_on(world: World) -> None:
    world.fed("orders")
    world.commit("orders", numbered(*range(100)))
    port = free_port()
    relays = [relay_at(world, port)]

    def act(event: ChangeEvent) -> Next | None:
        if event.scn in (30, 120):
            relays[-1].stop()
            relays.append(relay_at(world, port))
        if event.scn == 100:
            world.commit("orders", numbered(*range(150)))
        return Next.STOP if event.scn == 150 else None

    consumer = Recorder(act)
    try:
        Client(f"http://127.0.0.1:{port}").run(consumer, name="index", start="oldest", retries=QUICK)
        assert consumer.scns == list(range(1, 151))
        assert len(relays) == 3
        assert relays[-1].get("/v1/consumers/index").json["scn"] == 150
    finally:
        relays[-1].stop()


def test_a_consumer_waits_for_a_relay_that_is_not_up_yet(world: World) -> None:
    world.fed("orders")
    world.commit("orders", numbered(*range(3)))
    port = free_port()
    consumer = Recorder()
    thread = threading.Thread(
        target=lambda: Client(f"http://127.0.0.1:{port}").run(
            consumer, name="index", start="oldest", until_head=True, retries=QUICK
        )
    )
    thread.start()
    relay = relay_at(world, port)
    thread.join(30)
    relay.stop()
    assert consumer.scns == [1, 2, 3]


def test_patience_ends_where_it_was_asked_to(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    impatient = Retries(first_seconds=0.001, most_seconds=0.01, give_up_after=0.1)
    consumer = Recorder()
    with pytest.raises(RelayUnavailableError, match=url):
        Client(url).run(consumer, name="index", start="oldest", retries=impatient)
    assert consumer.calls == [("start", None), ("stop", None)]
    with pytest.raises(RelayUnavailableError):
        list(Client(url, retries=impatient).events())
    with pytest.raises(RelayUnavailableError):
        Client(url, retries=impatient).head()


def test_a_wire_that_is_cut_in_mid_answer_loses_and_repeats_nothing(world: World, serve: Callable[..., Relay]) -> None:
    world.fed("orders")
    world.commit("orders", [{"id": number, "v": os.urandom(100).hex()} for number in range(EVENTS)])
    relay = serve()
    with Proxy(relay.address[1]) as proxy:
        client = Client(f"http://127.0.0.1:{proxy.port}", retries=QUICK)
        scns = []
        for event in client.events():
            scns.append(event.scn)
            if event.scn % 2_000 == 1:
                proxy.cut()
        assert scns == list(range(1, EVENTS + 1))
        consumer = Recorder(lambda event: proxy.cut() if event.scn % 5_000 == 1 else None)  # type: ignore[func-returns-value]
        client.run(consumer, name="index", start="oldest", until_head=True, retries=QUICK)
        assert consumer.scns == scns


def test_a_stop_ends_a_run_whose_relay_is_away(world: World, serve: Callable[..., Relay]) -> None:
    world.fed("orders")
    world.commit("orders", numbered(*range(5)))
    relay, stop = serve(), threading.Event()

    def act(event: ChangeEvent) -> Next | None:
        if event.scn == 3:
            relay.stop()
            stop.set()
        return None

    consumer = Recorder(act)
    Client(relay.url).run(consumer, name="index", start="oldest", stop=stop, retries=QUICK)
    assert consumer.calls[-1] == ("stop", None)


def test_what_is_no_relay_is_said(tmp_path: Path) -> None:
    for url in ("", "localhost:7070", "ftp://x", "http://", "http://h/?a=1"):
        with pytest.raises(UsageError, match="no URL of a relay"):
            Client(url)


CHILD = """
import json, os, signal, sys
from differ.client import Client, Consumer, Pace

class Writes(Consumer):
    def on_event(self, event):
        print(json.dumps([event.stream, event.scn]), flush=True)
        if event.scn == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

Client(sys.argv[1]).run(
    Writes(), name="index", start="oldest", until_head=True, checkpoints=sys.argv[2] or None,
    pace=Pace(checkpoint_events=10),
)
"""


@pytest.mark.crash
@pytest.mark.parametrize("where", ["file", "relay"])
def test_a_killed_consumer_is_given_again_what_it_had_no_checkpoint_of(
    world: World, serve: Callable[..., Relay], tmp_path: Path, where: str
) -> None:
    world.fed("orders")
    world.commit("orders", numbered(*range(50)))
    relay = serve()
    path = str(tmp_path / "c.json") if where == "file" else ""

    def child(kill_at: int) -> tuple[int, list[tuple[str, int]]]:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, relay.url, path, str(kill_at)], check=False, capture_output=True, timeout=60
        )
        return done.returncode, [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    stream = world.project.catalog.stream().stream_id
    assert child(25) == (-9, [(stream, scn) for scn in range(1, 26)])
    assert child(43) == (-9, [(stream, scn) for scn in range(21, 44)])
    assert child(0) == (0, [(stream, scn) for scn in range(41, 51)])
