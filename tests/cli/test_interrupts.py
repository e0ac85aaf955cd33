"""Ctrl-C and SIGTERM: 130, a clean word, nothing committed; but never in the middle of a commit."""

import signal
import subprocess

import pytest

from differ.cli.interrupts import Interrupts
from tests.cli.shop import Shop, table

HANG = """
import concurrent.futures, pathlib, threading
from differ.iterators import iterator

@iterator(key="id")
def hang(ctx):
    yield [{"id": 1}]
    (pathlib.Path(ctx.project) / "reached").touch()
    concurrent.futures.ThreadPoolExecutor().submit(threading.Event().wait).result()
"""


def wait_for_file(shop: Shop, process: "subprocess.Popen[str]") -> None:
    """Wait until the plugin hangs; a process that ends before that fails the test."""
    while not (shop.folder / "reached").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_hanging_plugin_does_not_hold_the_process(shop: Shop, number: signal.Signals, as_json: bool) -> None:
    shop.plugin("hang", HANG)
    shop.configure({"hang": {"iterator": "hang"}, "orders": table("orders")})
    process = shop.start("scan", "--all", *(["--json"] if as_json else []))
    wait_for_file(shop, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "error: scan hang: interrupted; nothing of it was committed\n"
    assert ('"exit_code": 130' in out) is as_json
    body = shop.ok("status", "--json").document
    assert body["head_scn"] == 0
    assert shop.ok("scan", "--source", "orders").code == 0
    assert shop.ok("check", "--read-data").code == 0


def test_a_signal_waits_for_a_shielded_step_to_end() -> None:
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)  # Under nohup it is ignored.
    with interrupts.installed():
        with interrupts.shielded():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        assert interrupts.pending
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_in_the_commit_does_not_undo_what_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes between the commit's transaction and its return; the next unit is then not begun."""
    from differ.cycle import procedure

    real = procedure.commit

    def interrupted_commit(*arguments: object) -> object:
        bodies = real(*arguments)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)
        return bodies

    shop.configure({"orders": table("orders"), "second": table("orders")})
    monkeypatch.setattr(procedure, "commit", interrupted_commit)
    done = shop.run("scan", "--all", "--json")
    assert done.code == 130
    assert [(line.get("source"), line.get("status")) for line in done.lines] == [("orders", "committed")]
    monkeypatch.undo()
    assert shop.ok("status", "--json").document["head_scn"] == 5
    assert shop.ok("check", "--read-data").code == 0
    assert len(shop.ok("events", "--json").lines) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_scheduler_scans_and_stops(shop: Shop, number: signal.Signals) -> None:
    shop.configure({"orders": table("orders", schedule={"every": "1h"})})
    process = shop.start("run", "--only", "scheduler")
    assert process.stderr is not None
    said = ""
    while "finished after" not in said:
        said = process.stderr.readline()
        assert said
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert shop.ok("status", "--json").document["head_scn"] == 5


def test_run_says_what_there_is(shop: Shop) -> None:
    done = shop.run("run", "--only", "relay,bogus")
    assert (done.code, "'bogus'" in done.err) == (2, True)
    assert "hint: there is: scheduler, relay, bootstrap, sinks" in done.err
    assert "schedule: {every: 5m}" in shop.run("run", "--only", "scheduler").err
