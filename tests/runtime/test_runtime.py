"""Modules of a running `differ run`, from outside: real processes, real sockets, a real scheduler."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from differ.errors import UsageError
from differ.runtime import Control, Module, Runtime, ask, control_folder
from tests.cli.shop import COMMAND, Shop, table
from tests.runtime.fragile import Clock, Fragile

DEADLINE_SECONDS = 30.0
EVERY = {"every": "1h"}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    # Longer than a socket's name may be: the path is shortened where it is used.
    folder = tmp_path / ("deep" * 20) / ("folder" * 10)
    folder.mkdir(parents=True)
    made = Shop(folder)
    made.orders()
    made.configure({"orders": table("orders") | {"schedule": EVERY}})
    return made


@contextmanager
def running(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    """A real `differ run` whose first cycle was committed."""
    command = [*COMMAND, "run", "--only", "scheduler", "--project", str(shop.folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "scan orders: finished" in line:
                    break
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0


def states(shop: Shop) -> list[tuple[str, str]]:
    return [(e["module"], e["state"]) for e in shop.ok("modules", "list", "--json").document["modules"]]


def test_the_scheduler_is_paused_resumed_stopped_and_started_from_outside(shop: Shop) -> None:
    assert states(shop) == []
    with running(shop) as process:
        assert states(shop) == [("scheduler", "running")]
        for action, state in [
            ("pause", "paused"), ("pause", "paused"), ("resume", "running"), ("stop", "stopped"), ("stop", "stopped"),
            ("start", "running"), ("start", "running"),
        ]:  # fmt: skip
            entries = shop.ok("modules", action, "scheduler", "--json").document["modules"]
            assert [(e["state"], e["process"], e["error"]) for e in entries] == [(state, process.pid, None)]
        shop.ok("modules", "stop", "scheduler")
        refused = shop.run("modules", "resume", "scheduler")
        assert (refused.code, "it is stopped" in refused.err) == (2, True)
        unknown = shop.run("modules", "stop", "relay")
        assert (unknown.code, "hosted now: scheduler" in unknown.err) == (2, True)
        sockets = list(control_folder(shop.folder / ".differ").iterdir())
        assert [path.stat().st_mode & 0o777 for path in sockets] == [0o600]
    assert states(shop) == []
    assert not list(control_folder(shop.folder / ".differ").iterdir())


def test_two_processes_are_both_told(shop: Shop) -> None:
    with running(shop) as one, running(shop) as two:
        entries = shop.ok("modules", "pause", "scheduler", "--json").document["modules"]
        assert {e["process"] for e in entries} == {one.pid, two.pid}
        assert states(shop) == [("scheduler", "paused")] * 2


def test_a_killed_process_leaves_nothing_in_the_way(shop: Shop) -> None:
    command = [*COMMAND, "run", "--only", "scheduler", "--project", str(shop.folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "schedule:" in line)
        process.kill()
    assert states(shop) == []
    nobody = shop.run("modules", "pause", "scheduler")
    assert (nobody.code, "no 'differ run' of this project runs" in nobody.err) == (2, True)


def test_a_failing_module_takes_no_other_with_it(tmp_path: Path) -> None:
    bad, good = Fragile(start=RuntimeError("no start")), Fragile()
    runtime = Runtime({"bad": bad, "good": good}, clock=Clock())
    with Control(runtime, tmp_path):
        runtime.start()
        described = {e["module"]: (e["state"], e["error"]) for e in ask(tmp_path)}
        assert described == {"bad": ("failed", "RuntimeError: no start"), "good": ("running", None)}
        bad.failing.clear()
        assert ask(tmp_path, "start", "bad")[0]["state"] == "running"
        bad.failing["stop"] = RuntimeError("no stop")
        runtime.stop()
    assert good.calls == ["start", "stop"]


def test_an_action_on_sinks_goes_to_all_of_them(tmp_path: Path) -> None:
    sinks = {f"sinks.{name}": Fragile() for name in ("search", "ledger", "broken")}
    sinks["sinks.broken"].failing["start"] = UsageError("no such option")
    runtime = Runtime({"scheduler": Fragile(), **sinks}, clock=Clock())
    with Control(runtime, tmp_path):
        runtime.start()
        states = {e["module"]: e["state"] for e in ask(tmp_path, "pause", "sinks")}
        assert states == {"sinks.search": "paused", "sinks.ledger": "paused", "sinks.broken": "failed"}
        assert {e["module"]: e["state"] for e in ask(tmp_path, "resume", "sinks.search")} == {"sinks.search": "running"}
        runtime.act("stop", "sinks")
        with pytest.raises(UsageError, match="it is stopped"):
            ask(tmp_path, "resume", "sinks")
        assert {e["module"] for e in ask(tmp_path) if e["state"] == "running"} == {"scheduler"}
        runtime.remove("sinks.search")
        runtime.add("sinks.ledger", replaced := Fragile())
        assert replaced.calls == ["start"]
        assert [e["module"] for e in ask(tmp_path)] == ["scheduler", "sinks.broken", "sinks.ledger"]
        runtime.stop()


def test_the_relay_stops_after_those_who_speak_to_it() -> None:
    order: list[str] = []

    class Told(Fragile):
        def stop(self) -> None:
            order.append(name_of[self])

    modules: dict[str, Module] = {name: Told() for name in ("relay", "bootstrap", "scheduler", "sinks.search")}
    name_of = {module: name for name, module in modules.items()}
    runtime = Runtime(modules)
    runtime.start()
    runtime.stop()
    assert set(order[:2]) == {"scheduler", "sinks.search"}
    assert set(order[2:]) == {"relay", "bootstrap"}


@pytest.mark.parametrize("request_line", [b"\n", b"[]\n", b'{"do": 1}\n', b"\xff\xfe\n", b'{"do": "list"'])
def test_what_is_no_request_is_answered(tmp_path: Path, request_line: bytes) -> None:
    with Control(Runtime({"good": Fragile()}), tmp_path):
        path = next(tmp_path.glob("*.sock"))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(request_line)
            connection.shutdown(socket.SHUT_WR)
            assert "not a request" in json.loads(connection.makefile().readline())["error"]["message"]
        assert ask(tmp_path)[0]["module"] == "good"
        with pytest.raises(UsageError, match="no running process hosts it"):
            ask(tmp_path, "start", "evil")


def test_a_process_that_does_not_answer_hides_no_other(tmp_path: Path) -> None:
    with Control(Runtime({"good": Fragile()}), tmp_path), socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(tmp_path / "1.sock"))
        frozen.listen()
        silent, good = ask(tmp_path, list_seconds=0.2)
        assert (silent["module"], silent["state"], silent["process"]) == ("?", "failed", 1)
        assert "no answer after 0.2 s" in silent["error"]
        assert good["module"] == "good"
        assert ask(tmp_path, "start", "good", list_seconds=0.2)[0]["state"] == "running"
