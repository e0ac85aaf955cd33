"""The search for the secret of the run finds it wherever it may come out; otherwise it would prove nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import canary
from tests.canary import CANARY, CanaryError, check_folder, check_text
from tests.cli.shop import Done, Shop
from tests.cycle.world import World
from tests.server.relay import Relay


@pytest.mark.parametrize(
    "place", ["Captured stdout call", "Captured log call", "Captured stderr teardown", "traceback"]
)
def test_it_is_found_in_what_a_test_prints_logs_and_fails_with(place: str) -> None:
    """What the hook of all tests does with each report."""

    def report(text: str) -> pytest.TestReport:
        return pytest.TestReport(
            "some test", ("a.py", 1, "some test"), {}, "passed", text if place == "traceback" else None, "call",
            sections=[] if place == "traceback" else [(place, text)],
        )  # fmt: skip

    clean, leaking = report("nothing"), report(f"password: {CANARY}")
    canary.judge(clean)
    canary.judge(leaking)
    assert (clean.outcome, leaking.outcome) == ("passed", "failed")
    assert CANARY not in leaking.longreprtext
    assert "the secret of the test run is in" in leaking.longreprtext


def test_it_is_found_in_texts_commands_and_files(tmp_path: Path) -> None:
    for text in (f"a{CANARY}b", f"a{CANARY}b".encode()):
        with pytest.raises(CanaryError):
            check_text(text, "it")
    for out, err in ((CANARY, ""), ("", CANARY)):
        with pytest.raises(CanaryError):
            Done(0, out, err)
    (tmp_path / "deep").mkdir()
    (tmp_path / "scheduler.yaml").write_text(CANARY)
    check_folder(tmp_path)
    (tmp_path / "deep" / "catalog.db").write_bytes(b"\0" + CANARY.encode())
    with pytest.raises(CanaryError):
        check_folder(tmp_path)


def test_it_is_in_the_settings_of_projects(world: World, serve: Callable[..., Relay], tmp_path: Path) -> None:
    """So it is known to commands, cycles and relays, and is a key that opens what it says."""
    world.fed("orders")
    relay = serve()
    assert relay.call("GET", "/v1/sources/orders", token=CANARY).status == 200
    for path in ("/v1/sources", "/v1/sources/orders", "/metrics", "/openapi.json", "/v1/stream", "/v1/consumers"):
        assert relay.call("GET", path).status == 200
    shop = Shop(tmp_path / "shop")
    for arguments in (("config", "show"), ("config", "check"), ("status",), ("sources",), ("-vv", "scan", "--all")):
        shop.run(*arguments)
    assert f"env:{canary.VARIABLE}" in shop.ok("config", "show").out
