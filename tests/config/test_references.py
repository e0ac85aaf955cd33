"""References to the environment and to files, and what is hidden because of them."""

from pathlib import Path

import pytest

from differ.config import load, shown
from differ.errors import ConfigError, redact
from tests.config.conftest import Loading, Refusing


def option(value: str, key: str = "text") -> str:
    return f"version: 1\nsources:\n  orders:\n    iterator: sql\n    options: {{{key}: {value}}}\n"


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("${HOST}", "db.example"),
        ("a-${HOST}-${PORT}", "a-db.example-5432"),
        ("${MISSING:-fallback}", "fallback"),
        ("${MISSING:-}", ""),
        ("${EMPTY:-fallback}", "fallback"),
        ("${HOST:-fallback}", "db.example"),
        ("$${HOST}", "${HOST}"),
        ("$HOST", "$HOST"),
        ("${MISSING:-env:HOST}", "env:HOST"),
        ("${LOOP}", "${HOST}"),
        ("env:HOST", "db.example"),
        ("file://tmp/x", "file://tmp/x"),
        ("a env:HOST", "a env:HOST"),
    ],
)
def test_references_are_resolved_once(loading: Loading, written: str, resolved: str) -> None:
    settings = loading(option(f"'{written}'"), HOST="db.example", PORT="5432", EMPTY="", LOOP="${HOST}")
    assert settings.source("orders").options["text"] == resolved


def test_references_work_inside_lists_and_nested_options(loading: Loading) -> None:
    settings = loading(option("[{deep: '${HOST}'}, 5]"), HOST="db.example")
    assert settings.source("orders").options["text"] == [{"deep": "db.example"}, 5]


def test_a_number_may_come_from_the_environment(loading: Loading) -> None:
    settings = loading("sources: {orders: {iterator: sql, timeout: '${T}', snapshots: {keep: '${K}'}}}", T="5m", K="7")
    assert settings.source("orders").timeout_seconds == 300
    assert settings.source("orders").snapshots.keep == 7


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("${MISSING}", "environment variable MISSING is not set or empty; set it, or write ${MISSING:-default}"),
        ("${EMPTY}", "environment variable EMPTY is not set or empty"),
        ("env:MISSING", "environment variable MISSING is not set or empty"),
        ("env:not a name", "expected env:NAME"),
        ("env:", "expected env:NAME"),
        ("${not-a-name}", "begins no valid reference"),
        ("${OPEN", "begins no valid reference"),
        ("file:missing.txt", "read missing.txt: No such file or directory"),
        ("file:", "read : Is a directory"),
    ],
)
def test_a_reference_that_leads_nowhere_names_line_and_key(refused: Refusing, written: str, said: str) -> None:
    message = refused(option(f"'{written}'"), EMPTY="")
    assert message.startswith("scheduler.yaml line 5: sources.orders.options.text: ")
    assert said in message


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "the file is empty"), (b"\n", "the file is empty"), (b"\xff", "not UTF-8"), (b"x" * 70000, "larger")],
)
def test_a_secret_file_must_hold_a_secret(tmp_path: Path, refused: Refusing, body: bytes, said: str) -> None:
    (tmp_path / "secret").write_bytes(body)
    assert f"read secret: {said}" in refused(option("file:secret"))


def test_a_file_is_read_from_the_project_without_its_last_line_break(tmp_path: Path, loading: Loading) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "password").write_text("correct horse\n")
    assert loading(option("file:secrets/password")).source("orders").options["text"] == "correct horse"
    assert redact("refused 'correct horse'") == "refused '***'"


@pytest.mark.parametrize(
    ("written", "hidden", "left"),
    [
        ("env:VALUE", "plainword", ""),
        ("postgresql://app:${VALUE}@db.example/shop", "plainword", "db.example"),
        ("${URL}", "s3cr%40t s3cr@t", "db.example shop"),
        ("${TOKEN_URL}", "abcdef", "api.example"),
        ("${DB_PASSWORD}", "plainword", ""),
        ("${RANDOM_LOOKING}", "k9a8s7d6f5g4h3", ""),
        ("${HOST}", "", "db.example"),
        ("${TABLE}", "", "orders"),
    ],
)
def test_secrets_are_hidden_and_ordinary_words_are_not(loading: Loading, written: str, hidden: str, left: str) -> None:
    loading(
        option(f"'{written}'"),
        VALUE="plainword",
        URL="postgresql://app:s3cr%40t@db.example/shop",
        TOKEN_URL="https://api.example/?token=abcdef&x=1",
        DB_PASSWORD="plainword",
        RANDOM_LOOKING="k9a8s7d6f5g4h3",
        HOST="db.example",
        TABLE="orders",
    )
    for word in hidden.split():
        assert redact(f"refused: {word}!") == "refused: ***!"
    for word in left.split():
        assert redact(f"refused: {word}!") == f"refused: {word}!"


def test_the_key_tells_a_secret_as_well(loading: Loading) -> None:
    loading(option("'${X}'", key="password"), X="plainword")
    assert redact("plainword") == "***"


def test_a_wrong_value_from_a_secret_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "scheduler.yaml").write_text("relay: {listen: env:ADDRESS}")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={"ADDRESS": "topsecretvalue"})
    assert "topsecretvalue" not in str(caught.value)
    assert "relay.listen: expected host:port" in str(caught.value)


def test_a_url_written_in_the_file_hides_its_password(loading: Loading) -> None:
    loading(option("'mysql://root:p@ss:word@h/db'"))
    assert redact("Access denied for p@ss:word") == "Access denied for ***"


def test_what_is_shown_holds_no_secret_and_loads_again(loading: Loading, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from-a-file")
    text = """
sources:
  orders:
    iterator: sql
    options:
      url: postgresql://app:${DB_PASSWORD}@db.example/shop
      direct: env:DIRECT
      file: file:password
      password: written-down
      nested: [{api_key: written-too}, "${HOST}"]
      literal: "$${HOST}"
    timeout: 90s
    columns: {mask: {a: null, b: "no"}, tolerance: {w: 0.001}}
    guards: {deletes: 5%, updates: 7}
    schedule: {cron: "0 4 * * 1-5", timezone: Europe/Berlin}
relay: {tokens: {read: env:READ}}
"""
    environ = {"DB_PASSWORD": "hunter22", "DIRECT": "abc", "HOST": "db.example", "READ": "ab"}
    settings = loading(text, **environ)
    page = shown(settings)
    for secret in ("hunter22", "from-a-file", "written-down", "written-too", ": abc", ": ab\n"):
        assert secret not in page
    for kept in ("direct: env:DIRECT", "file: file:password", "read: env:READ", "db.example", "timeout: 90s"):
        assert kept in page
    again = loading(page, **environ).source("orders")
    before = settings.source("orders")
    assert (again.columns, again.guards, again.schedule) == (before.columns, before.guards, before.schedule)
    assert again.options["literal"] == "${HOST}"
    assert again.options["direct"] == "abc"


def test_a_literal_password_is_hidden_too(loading: Loading) -> None:
    loading("sources: {o: {iterator: sql, options: {password: canary-in-clear, table: orderbook}}}")
    assert redact("refused canary-in-clear for orderbook") == "refused *** for orderbook"


def test_a_project_whose_path_no_database_url_can_hold(tmp_path: Path) -> None:
    folder = tmp_path / "why?"
    folder.mkdir()
    (folder / "scheduler.yaml").write_text("version: 1\n")
    with pytest.raises(ConfigError, match=r"cannot hold the '\?'"):
        load(folder, environ={})
    (folder / "scheduler.yaml").write_text(f"storage: {{catalog: 'sqlite:///{tmp_path}/catalog.db'}}\n")
    assert load(folder, environ={}).storage.catalog.endswith("/catalog.db")
