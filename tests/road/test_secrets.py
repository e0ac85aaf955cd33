"""What a store refuses: one paragraph that says so, and the password nowhere: not in a message, a log or a file."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from differ.cycle.procedure import RunOptions
from differ.model import CycleResult
from tests.cycle.world import World
from tests.iterators.sql.scanning import run
from tests.servers import PostgreSQL

CANARY = "c4nary/5ecret"
FORMS = ("c4nary", "5ecret")


@pytest.fixture
def locked(postgresql: PostgreSQL, postgresql_url: str) -> Iterator[str]:
    """The URL of a PostgreSQL database for a user who needs a password, with a wrong one."""
    rules = postgresql.data / "pg_hba.conf"
    before = rules.read_text()
    run(postgresql_url, "DROP ROLE IF EXISTS guarded", "CREATE ROLE guarded LOGIN PASSWORD 'right'")
    try:
        rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + before)
        run(postgresql_url, "SELECT pg_reload_conf()")
        yield with_password(postgresql_url, "guarded")
    finally:
        rules.write_text(before)
        run(postgresql_url, "SELECT pg_reload_conf()")


def with_password(url: str, user: str) -> str:
    return sa.make_url(url).set(username=user, password=CANARY).render_as_string(hide_password=False)


def scan(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str, **options: Any
) -> CycleResult:
    """A scan that must fail, its URL from the environment as it should be; looks for the canary everywhere."""
    monkeypatch.setenv("SHOP_URL", url)
    iterator = options.pop("iterator", "sql")
    options.setdefault("collection" if iterator == "mongodb" else "table", "t")
    world.source("t", iterator=iterator, options={"url": "${SHOP_URL}", **options})
    with caplog.at_level(logging.DEBUG):
        result = world.project.scan("t", RunOptions())
    assert (result.status, result.exit_code) == ("failed", 3), result
    assert result.error
    assert result.error.startswith("scan t: ")
    assert "\n" not in result.error
    assert ": unexpected" not in result.error
    assert result.hint
    shown = [repr(result), str(result.to_json()), str(world.project.status()), caplog.text]
    shown += [repr(vars(record)) for record in caplog.records]
    for text in shown:
        assert not any(form in text for form in FORMS), text
    assert_not_on_disk(world.folder)
    return result


def assert_not_on_disk(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "catalog.db" for path in files)
    for path in files:
        data = path.read_bytes()
        assert not any(form.encode() in data for form in FORMS), path


def test_a_wrong_password(
    world: World, locked: str, mariadb_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert "password" in (scan(world, monkeypatch, caplog, locked).error or "")
    run(mariadb_url, "CREATE OR REPLACE USER guarded@'127.0.0.1' IDENTIFIED BY 'right'")
    assert "Access denied" in (scan(world, monkeypatch, caplog, with_password(mariadb_url, "guarded")).error or "")
    # The same in the options, where there is no URL to hide.
    plain = sa.make_url(mariadb_url).set(username="guarded").render_as_string()
    monkeypatch.setenv("SHOP_PASSWORD", CANARY)
    scan(world, monkeypatch, caplog, plain, connect_args={"password": "${SHOP_PASSWORD}"})


def test_nobody_answers_or_it_is_another_database(
    world: World,
    postgresql_url: str,
    mariadb_url: str,
    mongodb_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    quoted = "c4nary%2F5ecret"
    for url, iterator in [
        (f"postgresql://u:{quoted}@127.0.0.1:1/d", "sql"),
        (f"mysql://u:{quoted}@127.0.0.1:1/d", "sql"),
        (f"mongodb://u:{quoted}@127.0.0.1:1/d?serverSelectionTimeoutMS=300", "mongodb"),
        (with_password(sa.make_url(postgresql_url).set(database="nowhere").render_as_string(), "postgres"), "sql"),
        (with_password(postgresql_url, "postgres"), "sql"),  # right, and there is no table
        (mongodb_url.replace("mongodb://", f"mongodb://u:{quoted}@") + "?serverSelectionTimeoutMS=1000", "mongodb"),
    ]:
        scan(world, monkeypatch, caplog, url, iterator=iterator)


def test_tls_that_the_server_does_not_speak(
    world: World,
    postgresql_url: str,
    mongodb_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = with_password(postgresql_url, "postgres") + "?sslmode=require"
    assert "SSL" in (scan(world, monkeypatch, caplog, url).error or "")
    url = mongodb_url.replace("mongodb://", "mongodb://u:c4nary%2F5ecret@") + "?tls=true&serverSelectionTimeoutMS=500"
    scan(world, monkeypatch, caplog, url, iterator="mongodb")


def test_a_permission_that_is_lost(
    world: World,
    postgresql_url: str,
    mariadb_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = sa.make_url(mariadb_url).database
    made = "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)"
    run(postgresql_url, *made, "DROP ROLE IF EXISTS reading", f"CREATE ROLE reading LOGIN PASSWORD '{CANARY}'",
        "GRANT SELECT ON t TO reading")  # fmt: skip
    run(mariadb_url, *made, f"CREATE OR REPLACE USER reading@'127.0.0.1' IDENTIFIED BY '{CANARY}'",
        f"GRANT SELECT ON {database}.t TO reading@'127.0.0.1'")  # fmt: skip
    for url, revoke, grant in [
        (postgresql_url, "REVOKE SELECT ON t FROM reading", "GRANT SELECT ON t TO reading"),
        (mariadb_url, f"REVOKE SELECT ON {database}.t FROM reading@'127.0.0.1'",
         f"GRANT SELECT ON {database}.t TO reading@'127.0.0.1'"),
    ]:  # fmt: skip
        monkeypatch.setenv("SHOP_URL", with_password(url, "reading"))
        options = {"url": "${SHOP_URL}", "table": "t"}
        world.source("t", iterator="sql", options=options)
        assert world.scan("t").rows == 2
        head = world.project.catalog.stream().head_scn
        run(url, revoke)
        scan(world, monkeypatch, caplog, with_password(url, "reading"))
        assert world.project.catalog.stream().head_scn == head
        run(url, grant)
        assert world.scan("t").status == "unchanged"
    run(postgresql_url, "DROP OWNED BY reading", "DROP ROLE reading")


def test_a_plugin_that_tells_its_secret(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Code of the user's own that raises with the URL in its message."""
    world.plugin(
        "leaky",
        "from differ.iterators import iterator\n"
        "@iterator(key='id')\n"
        "def leaky(ctx):\n"
        "    ctx.logger.warning('about to connect to %s', ctx.options['url'])\n"
        "    raise RuntimeError('cannot reach ' + ctx.options['url'] + ' with ' + ctx.options['token'])\n"
        "    yield []\n",
    )
    monkeypatch.setenv("SHOP_TOKEN", CANARY)
    monkeypatch.setenv("SHOP_URL", "https://u:c4nary%2F5ecret@shop.example/api")
    options = {"url": "${SHOP_URL}", "token": "${SHOP_TOKEN}"}
    world.source("t", iterator="leaky", options=options)
    result = world.scan("t")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "cannot reach" in (result.error or "")
    for text in (repr(result), str(world.project.status())):
        assert not any(form in text for form in FORMS), text
    assert_not_on_disk(world.folder)
    assert "c4nary" not in (world.folder / "scheduler.yaml").read_text()
    assert yaml.safe_load((world.folder / "scheduler.yaml").read_text())["sources"]["t"]["options"] == options
