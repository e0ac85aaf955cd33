"""A plugin that takes its process down, or talks, harms nobody else."""

import signal
from pathlib import Path

import pytest

import differ
from differ.errors import UsageError
from tests.cli.shop import Shop, table
from tests.cli.test_interrupts import wait_for_file

HEAD = """import os, signal
from differ.iterators import iterator


@iterator(key='id', consistent=True)
def {name}(ctx):
"""
ENDS = {
    "exits": ("os._exit(0)", "ended with exit code 0, without a result"),
    "crashes": ("os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV"),
}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.orders()
    return made


@pytest.mark.parametrize("name", ENDS)
def test_the_others_go_on_and_the_death_is_told(shop: Shop, name: str) -> None:
    code, said = ENDS[name]
    shop.plugin(name, HEAD.format(name=name) + f"    yield [{{'id': 1}}]\n    {code}\n")
    shop.plugin("fine", HEAD.format(name="fine") + "    print('noise')\n    yield [{'id': 1}]\n")
    shop.configure({name: {"iterator": name}, "fine": {"iterator": "fine"}, "orders": table("orders")})
    done = shop.run("scan", "--all", "--json")
    assert done.code == 3
    assert [(line["source"], line["status"]) for line in done.lines] == [
        (name, "failed"), ("fine", "committed"), ("orders", "committed"),
    ]  # fmt: skip
    assert said in done.lines[0]["error"]
    (first, *_) = shop.ok("status", "--json").document["sources"]
    assert (first["status"], first["last_error"]) == ("failed", "its process ended")


def test_a_killed_scan_is_not_running_for_ever(shop: Shop) -> None:
    shop.plugin("dies", HEAD.format(name="dies") + "    os.kill(os.getpid(), signal.SIGKILL)\n    yield\n")
    shop.configure({"dies": {"iterator": "dies"}})
    assert shop.call("scan", "--all").code == -signal.SIGKILL
    (first,) = shop.ok("status", "--json").document["sources"]
    assert first["status"] == "failed"
    assert "its process ended in mid-scan" in first["last_error"]


def test_a_killed_scan_leaves_nobody_with_its_lock(shop: Shop) -> None:
    waits = "    open(ctx.project + '/reached', 'w').close()\n    __import__('time').sleep(600)\n    yield\n"
    shop.plugin("waits", HEAD.format(name="waits") + waits)
    shop.configure({"waits": {"iterator": "waits"}, "orders": table("orders")})
    process = shop.start("scan", "--all")
    wait_for_file(shop, process)
    process.kill()
    process.communicate(timeout=30)
    shop.plugin("waits", HEAD.format(name="waits") + "    yield [{'id': 1}]\n")
    assert shop.ok("scan", "--source", "waits", "--wait").code == 0


def test_what_a_plugin_prints_is_no_result(shop: Shop) -> None:
    shop.plugin("talks", HEAD.format(name="talks") + "    print('hello')\n    yield [{'id': 1}]\n")
    shop.configure({"talks": {"iterator": "talks"}})
    done = shop.ok("scan", "--all", "--json")
    assert [line["status"] for line in done.lines] == ["committed"]
    assert "hello" in done.err


def test_keys_of_events_are_keys_to_ask_for(shop: Shop) -> None:
    shop.ok("scan", "--all")
    with differ.open(shop.folder) as project:
        (event,) = project.events("orders", key={"id": 2})
        assert event.key == {"id": 2}
        assert [found.scn for found in project.events("orders", key=event.key)] == [event.scn]
        with pytest.raises(UsageError, match="its key has the columns id"):
            project.events("orders", key={"nope": 2})
        with pytest.raises(UsageError, match="'5' is no SCN"):
            project.events(since="5")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="unknown source"):
            project.events("nope")
