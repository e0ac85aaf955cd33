"""check, repair, gc and config: what they print, and the exit codes 0, 2 and 5."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.cli.seen import Seen
from tests.cli.shop import Shop, table


@pytest.fixture
def damaged(shop: Shop) -> Shop:
    """One bit of the current state of orders has flipped; a second source is well."""
    shop.configure({"orders": table("orders"), "second": table("orders")})
    shop.ok("scan", "--all")
    flip(next(shop.folder.glob("snapshots/orders/*/part-00000.parquet")))
    return shop


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def test_check(damaged: Shop) -> None:
    assert damaged.ok("check").out == "all is well; --read-data verifies every byte as well\n"
    done = damaged.run("check", "--read-data")
    assert done.code == 5
    assert "part-00000.parquet" in done.out
    assert "differ repair --dry-run" in done.err
    as_json = damaged.run("check", "--read-data", "--json")
    (finding,) = as_json.document["findings"]
    assert (as_json.code, finding["part"], finding["source"]) == (5, "snapshot", "orders")


def test_corruption_is_never_served(damaged: Shop) -> None:
    assert damaged.run("export", "--source", "orders").code == 5
    damaged.sql("DELETE FROM orders WHERE id = 1")
    done = damaged.run("scan", "--all", "--json")
    assert done.code == 5
    assert [line["status"] for line in done.lines] == ["failed", "committed"]


def test_repair_shows_its_plan_first(damaged: Shop) -> None:
    plan = damaged.run("repair", "--dry-run")
    assert plan.code == 5
    assert "quarantine the current state of orders" in plan.out
    refused = damaged.run("repair")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert damaged.run("check", "--read-data").code == 5
    done = damaged.ok("repair", "--yes", "--json").document
    assert done["plan"][0]["possible"] is True
    assert any(Path(done["quarantine"]).iterdir())
    assert damaged.ok("check", "--read-data").out == "all is well\n"
    assert damaged.ok("repair").out == "nothing is damaged\n"
    damaged.ok("scan", "--all")


@pytest.mark.parametrize(("answer", "code"), [("n\n", 5), ("y\n", 0)])
def test_repair_asks_a_person(damaged: Shop, answer: str, code: int) -> None:
    seen = Seen(damaged, "repair")
    seen.wait_for("carry this out? [y/N]:")
    seen.type(answer)
    assert seen.end() == code
    assert damaged.run("check", "--read-data").code == code


def test_gc_sweeps_strays(shop: Shop) -> None:
    shop.ok("scan", "--all")
    mark = shop.ok("status", "--json").document["stream"][:8]
    stray = shop.folder / "snapshots" / "orders" / f"cycle-00000009-{mark}-beef"
    stray.mkdir()
    (stray / "part-00000.parquet").write_bytes(b"12345")
    assert shop.ok("gc").out == "removed 5 bytes\n"
    assert not stray.exists()
    assert shop.ok("gc", "--json").document == {"removed_bytes": 0}
    assert shop.ok("check", "--read-data").code == 0


def test_config_check_looks_at_plugins_too(shop: Shop) -> None:
    assert shop.ok("config", "check").out.endswith("scheduler.yaml is valid: 1 source\n")
    assert shop.ok("config", "check", "--json").document["ok"] is True
    shop.plugin("mine", "import nothing_of_that_name\n")
    shop.configure({"mine": {"iterator": "mine"}})
    assert shop.run("config", "check").code == 3
    assert not (shop.folder / ".differ").exists()


def test_config_schema_accepts_the_file(shop: Shop) -> None:
    schema = shop.ok("config", "schema").document
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((shop.folder / "scheduler.yaml").read_text()), schema)
    assert shop.ok("config", "schema", "--json").out.count("\n") == 1


def test_config_show_hides_secrets_and_loads_again(shop: Shop) -> None:
    shop.configure({"orders": table("orders", columns={"ignore": ["status"]})})
    text = shop.ok("config", "show").out
    assert yaml.safe_load(text) == shop.ok("config", "show", "--json").document
    (shop.folder / "scheduler.yaml").write_text(text)
    shop.ok("config", "check")


def test_logs_are_redacted_json_when_asked(shop: Shop) -> None:
    done = shop.ok("scan", "--all", "-v", "--log-format", "json")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert any("status=committed" in line["message"] for line in lines)
    assert {"time", "level", "logger", "message"} <= lines[0].keys()
    assert shop.ok("scan", "--all", "--quiet").err == ""


def test_config_check_tells_everything_at_once(shop: Shop) -> None:
    shop.plugin("one", "def broken(:\n")
    shop.plugin("two", "import nothing_of_that_name\n")
    shop.configure({"one": {"iterator": "one"}, "two": {"iterator": "two"}})
    done = shop.run("config", "check")
    assert done.code == 3
    assert done.err.count("error:") == 2
    (shop.folder / "scheduler.yaml").write_text(
        "sources:\n  a: {iterator: sql, timeout: soon, options: {url: '${NO_SUCH_VARIABLE}'}}\n"
        "  b: {iterator: sql, keyy: x}\n"
    )
    done = shop.run("config", "check")
    assert done.code == 2
    for wrong in ("NO_SUCH_VARIABLE", "timeout", "keyy"):
        assert wrong in done.err


def test_the_bare_command_is_its_help(shop: Shop) -> None:
    done = shop.call()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: differ")


def test_history_knows_what_was_before_a_new_base(shop: Shop) -> None:
    shop.ok("scan", "--all")
    done = shop.ok("rebaseline", "--source", "orders")
    assert "nobody reads on from before SCN 5" in done.err
    assert len(shop.ok("history", "--source", "orders", "--key", "1", "--json").document["events"]) == 1
