"""`differ run` as it is used: several processes, killed ones, taken ports, HTTP and signals."""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from differ.client import Client, Consumer, FileCheckpoints
from differ.model import ChangeEvent
from tests.cli.shop import Shop, table
from tests.runtime.running import Running, call, running, taken_port
from tests.servers.ports import free_port

TOKENS = {"read": "token-read-1", "consume": "token-consume-1", "admin": "token-admin-1"}
NEVER = {"every": "1h"}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.orders()
    made.configure({"orders": table("orders")}, relay={"listen": "127.0.0.1:0"})
    return made


class Collect(Consumer):
    """Keeps the state that rows and events give, and says when it holds so many keys."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}
        self.scns: list[int] = []
        self._grew = threading.Condition()

    def on_bootstrap_event(self, event: ChangeEvent) -> None:
        self._take(event)

    def on_event(self, event: ChangeEvent) -> None:
        self.scns.append(event.scn)
        self._take(event)

    def _take(self, event: ChangeEvent) -> None:
        with self._grew:
            self.state[event.key["id"]] = event.after and event.after["status"]
            self._grew.notify_all()

    def wait_for(self, key: int) -> None:
        with self._grew:
            assert self._grew.wait_for(lambda: key in self.state, timeout=60), self.state


def test_a_consumer_follows_through_a_killed_relay(shop: Shop, tmp_path: Path) -> None:
    port = free_port()
    shop.configure({"orders": table("orders")}, relay={"listen": f"127.0.0.1:{port}"})
    shop.ok("scan", "--all")
    first = Running(shop, "--only", "relay,bootstrap")
    first.serves()
    consumer, stop = Collect(), threading.Event()
    client = Client(f"http://127.0.0.1:{port}")
    run = threading.Thread(
        target=client.run, args=(consumer,),
        kwargs={"name": "copy", "checkpoints": FileCheckpoints(tmp_path / "copy.json"), "stop": stop},
    )  # fmt: skip
    run.start()
    try:
        consumer.wait_for(5)
        shop.sql("INSERT INTO orders VALUES (6, 'new')")
        shop.ok("scan", "--all")  # another process's commit, as by cron
        consumer.wait_for(6)
        first.process.kill()
        first.process.communicate()
        shop.sql("INSERT INTO orders VALUES (7, 'new')", "UPDATE orders SET status = 'sent' WHERE id = 1")
        shop.ok("scan", "--all")
        with running(shop, "--only", "relay,bootstrap") as second:
            second.serves()
            consumer.wait_for(7)
            stop.set()
            run.join(60)
    finally:
        stop.set()
        run.join(60)
    assert consumer.state == {1: "sent", 2: "paid", 3: "paid", 4: "paid", 5: "paid", 6: "new", 7: "new"}
    assert sorted(set(consumer.scns)) == [6, 7, 8]


def test_modules_are_acted_on_by_http_across_processes(shop: Shop) -> None:
    shop.configure({"orders": table("orders", schedule=NEVER)}, relay={"listen": "127.0.0.1:0", "tokens": TOKENS})
    admin = TOKENS["admin"]
    with running(shop, "--only", "scheduler") as scheduler, running(shop, "--only", "relay,bootstrap") as relay:
        url = relay.serves()
        scheduler.wait_for("scan orders: finished")
        relay.wait_for("module bootstrap: running")
        modules = f"{url}/v1/modules"
        assert call(modules).status == 401
        assert call(modules, token=TOKENS["consume"]).status == 403
        assert call(modules, token=admin).states == dict.fromkeys(("scheduler", "relay", "bootstrap"), "running")
        assert call(f"{modules}/scheduler/pause", "POST", TOKENS["read"]).status == 403
        assert call(f"{modules}/scheduler/pause", "POST", admin).states == {"scheduler": "paused"}
        assert shop.ok("modules", "list", "--json").document["modules"][0]["state"] == "paused"
        refused = call(f"{modules}/scheduler/explode", "POST", admin)
        assert refused.status == 422
        unknown = call(f"{modules}/sinks.nothing/stop", "POST", admin)
        assert (unknown.status, unknown.json["error"]["code"]) == (400, "BAD_REQUEST")
        assert call(f"{modules}/scheduler/stop", "POST", admin).states == {"scheduler": "stopped"}
        assert call(f"{modules}/scheduler/resume", "POST", admin).status == 400

        # What is paused says so; the other half of the server goes on.
        assert call(f"{modules}/relay/pause", "POST", admin).states == {"relay": "paused"}
        stream = call(f"{url}/v1/stream", token=admin)
        assert (stream.status, stream.json["error"]["code"]) == (503, "UNAVAILABLE")
        assert "relay" in stream.json["error"]["message"]
        assert call(f"{modules}/relay/resume", "POST", admin).states == {"relay": "running"}
        assert call(f"{url}/v1/stream", token=admin).status == 200

        # Who stops what answers him is answered.
        for name in ("relay", "bootstrap"):
            answer = call(f"{modules}/{name}/stop", "POST", admin)
            assert (answer.status, answer.json["modules"][0]["pending"]) == (202, "stop")
            relay.wait_for(f"module {name}: stopped")
        states = {e["module"]: e["state"] for e in shop.ok("modules", "start", "relay", "--json").document["modules"]}
        assert states == {"relay": "running"}
        assert call(f"{relay.serves()}/healthz").status == 200


def test_a_taken_port_is_waited_for_and_harms_nobody_else(shop: Shop) -> None:
    with taken_port() as (port, server):
        shop.configure({"orders": table("orders", schedule=NEVER)}, relay={"listen": f"127.0.0.1:{port}"})
        with running(shop) as process:
            process.wait_for("module relay failed, and is started again in 1 s: .*Address already in use")
            process.wait_for("scan orders: finished")
            listed = shop.ok("modules", "list")
            assert "failed" in listed.out
            assert "Address already in use" in listed.out
            server.close()
            process.wait_for("module (relay|bootstrap): running")
            assert call(f"http://127.0.0.1:{port}/healthz").status == 200


def test_relay_and_bootstrap_in_two_processes(shop: Shop) -> None:
    port = free_port()
    shop.ok("scan", "--all")
    shop.configure(
        {"orders": table("orders")},
        relay={"listen": "127.0.0.1:0"},
        bootstrap={"listen": f"127.0.0.1:{port}", "url": f"http://127.0.0.1:{port}"},
    )
    with running(shop, "--only", "relay") as relay, running(shop, "--only", "bootstrap") as bootstrap:
        assert bootstrap.serves() == f"http://127.0.0.1:{port}"
        consumer = Collect()
        Client(relay.serves()).run(consumer, name="copy", until_head=True)
        assert consumer.state == dict.fromkeys(range(1, 6), "paid")
        answer = call(f"http://127.0.0.1:{port}/v1/stream")
        assert answer.status == 503


def test_a_signal_reads_the_configuration_again(shop: Shop) -> None:
    sources = {"orders": table("orders", schedule=NEVER)}
    shop.sql("CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (1)")
    shop.configure(sources, relay={"listen": "127.0.0.1:0", "tokens": TOKENS})
    with running(shop) as process:
        url = process.serves()
        process.wait_for("scan orders: finished")
        assert call(f"{url}/v1/sources", token=TOKENS["read"]).status == 200

        (shop.folder / "scheduler.yaml").write_text("version: 1\nsources: {orders: {iterator: sql, kye: id}}\n")
        process.tell(signal.SIGHUP)
        told = process.wait_for("nothing was changed: (.*)")[1]
        assert "kye" in told
        assert call(f"{url}/v1/sources", token=TOKENS["read"]).status == 200

        more = sources | {"items": table("items", schedule=NEVER)}
        changed = TOKENS | {"read": "token-read-2"}
        shop.configure(
            more, relay={"listen": "127.0.0.1:0", "tokens": changed, "retention": {"age": "3d"}},
            storage={"snapshots": "elsewhere"},
        )  # fmt: skip
        process.tell(signal.SIGHUP)
        process.wait_for("read again, 3 of 4 changes are in effect")
        process.wait_for("scan items: finished")
        report = "\n".join(process.seen)
        assert "sources.items: new" in report
        assert "relay.retention.age: 604800s -> 259200s" in report
        assert "relay.tokens.read: changed (a secret)" in report
        assert "elsewhere; wants a new 'differ run'" in report
        assert not {token for token in (*TOKENS.values(), *changed.values()) if token in report}
        assert call(f"{url}/v1/sources", token=TOKENS["read"]).status == 401
        answer = call(f"{url}/v1/sources", token="token-read-2")
        assert {source["source"] for source in answer.json["sources"]} == {"orders", "items"}

        port = free_port()
        shop.configure(more, relay={"listen": f"127.0.0.1:{port}", "tokens": changed, "retention": {"age": "3d"}})
        process.tell(signal.SIGHUP)
        assert process.serves() == f"http://127.0.0.1:{port}"
        assert call(f"http://127.0.0.1:{port}/v1/sources", token="token-read-2").status == 200
        process.wait_for("changes are in effect")
        process.tell(signal.SIGHUP)
        process.wait_for("read again, nothing changed")

        shop.configure(more, relay={"listen": "0.0.0.0:0"})
        process.tell(signal.SIGHUP)
        assert "relay.tokens has none" in process.wait_for("nothing was changed: (.*)")[1]


HANG = """
import pathlib, signal
from differ.iterators import iterator

@iterator(key="id")
def hang(ctx):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    (pathlib.Path(ctx.project) / "reached").touch()
    while True:
        yield []
"""


def test_told_twice_it_ends_at_once(shop: Shop) -> None:
    shop.plugin("hang", HANG)
    shop.configure({"hang": {"iterator": "hang", "schedule": NEVER}}, relay={"listen": "127.0.0.1:0"})
    process = Running(shop)
    child = int(process.wait_for(r"scan hang: started, process (\d+)")[1])
    deadline = time.monotonic() + 60
    while not (shop.folder / "reached").exists():
        assert time.monotonic() < deadline
    process.tell(signal.SIGTERM)
    process.wait_for("SIGTERM, stopping")
    process.tell(signal.SIGINT)
    _, rest = process.process.communicate(timeout=20)
    try:
        assert process.process.returncode == 130
        assert "told twice to stop" in rest
    finally:
        with suppress(ProcessLookupError):  # It ends by itself, or it hangs on.
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("scheduler", "no source or consistency group has a schedule"),
        ("sinks", "no sink is configured"),
        ("scheduler,sinks", "no source or consistency group has a schedule, and no sink is configured"),
        ("relais", "there is no module 'relais'"),
        ("", "there is no module ''"),
    ],
)
def test_nothing_to_run_is_an_error(shop: Shop, only: str, expected: str) -> None:
    done = shop.run("run", "--only", only)
    assert (done.code, expected in done.err) == (2, True), done


def test_an_open_port_without_tokens_is_refused_at_once(shop: Shop) -> None:
    shop.configure({"orders": table("orders")}, relay={"listen": "0.0.0.0:0"})
    done = shop.run("run", "--json")
    assert done.code == 2
    assert "relay.tokens" in json.loads(done.out)["error"]["message"]


def copying(**options: Any) -> dict[str, Any]:
    """A sink that keeps a table of a SQLite file equal to the orders."""
    return {"kind": "sql", "sources": ["orders"], "options": {"url": "sqlite:///copy.db", **options}}


def test_a_signal_starts_only_the_sinks_that_changed(shop: Shop) -> None:
    relay = {"listen": f"127.0.0.1:{free_port()}"}
    sinks = {"kept": copying(table="kept"), "moved": copying(table="moved"), "gone": copying(table="gone")}
    shop.configure({"orders": table("orders")}, relay=relay, sinks=sinks)
    shop.ok("scan", "--all")
    with running(shop) as process:
        process.wait_for("module sinks.gone: running")
        before = {e["module"]: e["since"] for e in shop.ok("modules", "list", "--json").document["modules"]}
        sinks = {"kept": sinks["kept"], "moved": copying(table="moved_to"), "new": copying(table="new", tabel="x")}
        shop.configure({"orders": table("orders")}, relay=relay, sinks=sinks)
        process.tell(signal.SIGHUP)
        process.wait_for("changes are in effect")
        after = {e["module"]: e for e in shop.ok("modules", "list", "--json").document["modules"]}
        assert set(after) == {"scheduler", "relay", "bootstrap", "sinks.kept", "sinks.moved", "sinks.new"}
        same = {name for name, entry in after.items() if entry["since"] == before.get(name)}
        assert same == {"scheduler", "relay", "bootstrap", "sinks.kept"}
        assert (after["sinks.new"]["state"], after["sinks.new"]["restart_seconds"]) == ("failed", None)
        assert "tabel" in after["sinks.new"]["error"]
        sinks["new"] = copying(table="new")
        shop.configure({"orders": table("orders")}, relay=relay, sinks=sinks)
        process.tell(signal.SIGHUP)
        process.wait_for("module sinks.new: running")


def test_sinks_wait_for_a_relay_that_is_not_there_yet(shop: Shop) -> None:
    shop.configure(
        {"orders": table("orders")},
        relay={"listen": f"127.0.0.1:{free_port()}"},
        sinks={"copy": copying() | {"retries": {"first": "100ms", "longest": "200ms"}}},
    )
    shop.ok("scan", "--all")
    with running(shop, "--only", "sinks") as sinks:
        sinks.wait_for("waiting for the relay: ")
        assert shop.ok("modules", "list", "--json").document["modules"][0]["state"] == "running"
        with running(shop, "--only", "relay,bootstrap") as relay:
            relay.serves()
            while shop.run("consumers", "show", "sink.copy", "--json").document.get("state") != "streaming":
                assert sinks.process.poll() is None
            assert "5 upserts" in shop.ok("modules", "list").out


def test_sinks_must_know_where_the_relay_is(shop: Shop) -> None:
    shop.configure({"orders": table("orders")}, relay={"listen": "127.0.0.1:0"}, sinks={"copy": copying()})
    done = shop.run("run")
    assert (done.code, "set relay.url" in done.err) == (2, True)
