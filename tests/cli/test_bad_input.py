"""What bad input gets: one paragraph, the documented exit code, nothing committed, and no secret in any output."""

import os
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from tests.cli.shop import COMMAND, Done, Shop, table
from tests.servers import PostgreSQL

CANARY = "kanarie-5ecret"
MARK = "from differ.iterators import iterator\n@iterator(key='id')\n"


def fails(shop: Shop, code: int, *arguments: str, real: bool = False, **environment: str) -> str:
    """What a command says on stderr; as JSON and with -vv it says the same. The canary is in none of it.

    real: in a process of its own, so that what the interpreter says and its end are seen too; one of each kind of bad
    input is run so.
    """
    with mock.patch.dict(os.environ, environment):
        plain = shop.call(*arguments) if real else shop.run(*arguments)
        as_json = shop.run(*arguments, "--json")
        loud = shop.run(*arguments, "-vv")
    for done in (plain, as_json, loud):
        assert done.code == code, done
        assert CANARY not in done.out + done.err
    assert "Traceback" not in plain.err + plain.out + as_json.err + as_json.out
    assert plain.err.startswith("error: "), plain.err
    told = as_json.lines[-1]
    assert told.get("error"), told
    return plain.err


def failed_scan(shop: Shop, *, real: bool = False, **environment: str) -> str:
    """A scan that fails with 3 beside a good source that is committed by the same call."""
    told = fails(shop, 3, "scan", "--source", "bad", real=real, **environment)
    with mock.patch.dict(os.environ, environment):
        assert _head(shop) == 0
        both: Done = shop.run("scan", "--all", "--json")
    assert both.code == 3
    assert {line["source"]: line["status"] for line in both.lines}["orders"] in ("committed", "unchanged")
    return told


def _head(shop: Shop) -> int:
    return int(shop.ok("status", "--json").document["head_scn"])


def with_bad(shop: Shop, **bad: Any) -> None:
    shop.configure({"orders": table("orders"), "bad": bad})


def sql_source(url: str, **options: Any) -> dict[str, Any]:
    return {"iterator": "sql", "options": {"url": url, **options}}


def test_a_password_in_a_url_is_never_shown(shop: Shop) -> None:
    with_bad(shop, **sql_source(f"postgresql://u:{CANARY}@127.0.0.1:1/d", table="t"))
    assert "127.0.0.1" in failed_scan(shop, real=True)
    for arguments in (["config", "show"], ["sources"], ["status"], ["config", "check"], ["scan", "--all", "--explain"]):
        done = shop.run(*arguments)
        assert CANARY not in done.out + done.err


def test_a_wrong_password_of_a_real_server(shop: Shop, postgresql: PostgreSQL, postgresql_url: str) -> None:
    rules = postgresql.data / "pg_hba.conf"
    before = rules.read_text()
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP ROLE IF EXISTS shut"))
        connection.execute(sa.text("CREATE ROLE shut LOGIN PASSWORD 'right'"))
    wrong = sa.make_url(postgresql_url).set(username="shut", password=CANARY).render_as_string(hide_password=False)
    shop.configure({"orders": table("orders"), "bad": sql_source("${SHOP_URL}", table="t")})
    try:
        rules.write_text("host all shut 127.0.0.1/32 scram-sha-256\n" + before)
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        told = fails(shop, 3, "scan", "--source", "bad", real=True, SHOP_URL=wrong)
    finally:
        rules.write_text(before)
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        engine.dispose()
    assert "password authentication failed" in told
    assert "hint: check user, password" in told


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (sql_source("sqlite:///shop.db", table="ordes"), "did you mean orders?"),
        (sql_source("sqlite:///shop.db", table="orders", columns=["id", "statsu"]), "did you mean status?"),
        (sql_source("sqlite:///shop.db", query="SELEKT 1") | {"key": "id"}, "syntax"),
        (sql_source("sqlite:///nowhere.db", table="orders"), "nowhere.db"),
        (sql_source("sqlite:///shop.db", table="orders") | {"key": "nokey"}, "nokey"),
        (sql_source("sqlite:///shop.db", query="SELECT NULL AS id"), "primary key"),
        (sql_source("sqlite:///shop.db", query="SELECT NULL AS id") | {"key": "id"}, "null"),
        (sql_source("sqlite:///shop.db", query="SELECT 1 AS id UNION ALL SELECT 1") | {"key": "id"}, "same key"),
        ({"iterator": "files", "options": {"path": "none-*.csv"}, "key": "id"}, "none-*.csv"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_sources(shop: Shop, bad: dict[str, Any], said: str) -> None:
    with_bad(shop, **bad)
    told = failed_scan(shop)
    assert said in told or (said == "same key" and "key" in told), told
    assert "hint: " in told


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def broken(:\n", "bad.py:1: SyntaxError"),
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        ("x = 1\n", "bad.py"),
        ("from differ.iterators import iterator\n@iterator\ndef bad(ctx):\n    yield [{'id': 1}]\n", "key"),
        (
            MARK + "def bad(ctx):\n    yield [{'id': 1}]\n    raise RuntimeError('gone ' + ctx.options['password'])\n",
            "gone",
        ),
        (MARK + "def bad(ctx):\n    yield [{'id': 1}, {'name': 'x'}]\n", "id"),
        (MARK + "def bad(ctx):\n    yield 7\n", "int"),
        (MARK + "def bad(ctx):\n    return 7\n", "returned int"),
        (MARK + "def bad(ctx):\n    ctx.expect_rows(2)\n    yield [{'id': 1}]\n", "expected 2"),
        (MARK + "def bad(ctx):\n    raise SystemExit(0)\n", "SystemExit"),
        (MARK + "def bad(ctx):\n    yield [{'id': 1}, {'id': None}]\n", "null"),
        (MARK + "def bad(ctx):\n    yield [{'id': object()}]\n", "object"),
    ],
)
def test_broken_plugins(shop: Shop, code: str, said: str) -> None:
    shop.plugin("bad", code)
    with_bad(shop, iterator="bad", options={"password": "env:BAD_PASSWORD"})
    assert said in failed_scan(shop, real=said in ("gone", "SystemExit"), BAD_PASSWORD=CANARY)


def test_a_plugin_that_hangs_passes_its_timeout(shop: Shop) -> None:
    shop.plugin("bad", MARK + "def bad(ctx):\n    yield [{'id': 1}]\n    import time\n    time.sleep(600)\n")
    with_bad(shop, iterator="bad", timeout="1s")
    done = shop.call("scan", "--source", "bad")  # Once: letting go of what hangs takes seconds.
    assert done.code == 3
    assert done.err.startswith("error: ")
    assert "timeout" in done.err
    assert "Traceback" not in done.out + done.err
    assert _head(shop) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nsources:\n  orders: {iteratr: sql}\n", "iterator"),
        ("version: 1\nsuorces: {}\n", "sources"),
        ("version: 1\nsources: [\n", "line"),
        ("version: 1\nsources: {a: {iterator: sql, options: {url: '${NOT_SET_ANYWHERE}'}}}\n", "NOT_SET_ANYWHERE"),
        ("version: 1\nsources: {a: {iterator: sql, schedule: {every: soon}}}\n", "every"),
        (f"version: 1\nsources: {{a: {{iterator: sql, options: {{url: 'p://u:{CANARY}@h/d'}}, ky: x}}}}\n", "key"),
        ("version: 1\nsources: {a: {iterator: sql}, a: {iterator: sql}}\n", "a"),
        ("\x00", "scheduler.yaml"),
    ],
)
def test_wrong_configuration(shop: Shop, text: str, said: str) -> None:
    (shop.folder / "scheduler.yaml").write_text(text)
    for arguments in (["scan", "--all"], ["config", "check"], ["status"]):
        told = fails(shop, 2, *arguments, real=arguments == ["status"] and said in ("line", "scheduler.yaml"))
        assert said in told, told
    assert not (shop.folder / ".differ").exists()


def test_no_project_and_no_plugin(shop: Shop, tmp_path: Path) -> None:
    nowhere = subprocess.run((*COMMAND, "status"), cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert nowhere.returncode == 2
    assert "differ init" in nowhere.stderr
    assert shop.call("status", "--project", str(tmp_path)).code == 2
    with_bad(shop, iterator="nobody")
    assert "nobody" in fails(shop, 2, "scan", "--source", "bad", real=True)
    assert shop.run("config", "check").code == 2
    assert shop.call("scan", "--all", "--bogus").code == 2


def test_a_full_disk_fails_the_scan_and_leaves_nothing(shop: Shop) -> None:
    shop.ok("scan", "--all")
    before = sorted(path.name for path in (shop.folder / "snapshots" / "orders").iterdir())
    shop.sql(
        "UPDATE orders SET status = 'x'",
        *[f"INSERT INTO orders VALUES ({n}, hex(randomblob(20000)))" for n in range(10, 80)],
    )
    command = "ulimit -f 512; exec " + " ".join((*COMMAND, "scan", "--all"))
    done = subprocess.run(
        ["sh", "-c", command], cwd=shop.folder, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert sorted(path.name for path in (shop.folder / "snapshots" / "orders").iterdir()) == before
    assert shop.ok("check").out.startswith("all is well")
    shop.ok("scan", "--all")


def test_an_unexpected_defect_is_one_line_and_a_traceback_with_vv(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from differ.project import Project

    def broken(self: Project) -> None:
        raise RuntimeError("not foreseen: postgresql://u:" + CANARY + "@h/d")

    monkeypatch.setattr(Project, "status", broken)
    plain, loud = shop.run("status"), shop.run("status", "-vv")
    assert (plain.code, loud.code) == (3, 3)
    assert plain.err.startswith("error: unexpected RuntimeError: not foreseen")
    assert "Traceback" not in plain.err
    assert "Traceback" in loud.err
    assert CANARY not in plain.err + loud.err
