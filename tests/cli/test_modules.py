"""`differ modules` with nothing to speak to, and what it prints."""

from tests.cli.shop import Shop


def test_nothing_runs(shop: Shop) -> None:
    listed = shop.ok("modules", "list")
    assert (listed.out, "nothing runs" in listed.err) == ("", True)
    assert shop.ok("modules", "list", "--json").document == {"modules": []}
    for action in ("start", "stop", "restart", "pause", "resume"):
        done = shop.run("modules", action, "relay", "--json")
        assert done.code == 2
        assert "no 'differ run' of this project runs" in done.document["error"]["message"]
