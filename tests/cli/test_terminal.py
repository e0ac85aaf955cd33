"""What a person sees on 80 columns, and what a pipe is given instead."""

import os
import subprocess

import pytest

from differ.cli.table import Column, Table
from differ.cli.terminal import Terminal, clean, count, duration
from tests.cli.seen import COLUMNS, Seen
from tests.cli.shop import COMMAND, Shop, table

LONG = "a rather long value that goes on and on until it has passed the width of any terminal by far " * 2


@pytest.fixture
def wide_shop(shop: Shop) -> Shop:
    """Orders with many columns, long values and wide characters."""
    shop.sql(
        "CREATE TABLE wide (id TEXT PRIMARY KEY, a TEXT, b TEXT, c TEXT, d TEXT)",
        f"INSERT INTO wide VALUES ('漢字漢字', '{LONG}', 'b', '\U0001f600', 'd'), ('k', 'a', 'b', 'c', 'd')",
    )
    shop.configure({"orders": table("orders", guards={"rows": {"min": 3}}), "wide": table("wide")})
    shop.ok("scan", "--all")
    shop.sql("UPDATE wide SET a = 'x', b = 'y', c = 'z', d = 'w'", "DELETE FROM orders WHERE id > 2")
    assert shop.run("scan", "--all").code == 4
    return shop


@pytest.mark.parametrize(
    "arguments",
    [
        ["events"],
        ["events", "--source", "wide"],
        ["status"],
        ["sources"],
        ["diff", "--source", "wide", "--from", "0"],
        ["history", "--source", "wide", "--key", "k"],
        ["scan", "--all", "--dry-run"],
        ["check"],
    ],
    ids=" ".join,
)
def test_tables_fit_80_columns(wide_shop: Shop, arguments: list[str]) -> None:
    from rich.cells import cell_len

    seen = Seen(wide_shop, *arguments)
    assert seen.end() == 0
    for line in seen.text.splitlines():
        last_of_progress = line.rpartition("\r")[2]
        assert cell_len(last_of_progress) <= COLUMNS or "--hash" in line, line


def test_colour_only_for_eyes_that_want_it(wide_shop: Shop) -> None:
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        seen = Seen(wide_shop, "status", **environment)
        assert seen.end() == 0
        assert seen.coloured is coloured, environment
    for arguments in (["status"], ["events"], ["scan", "--source", "nowhere"]):
        piped = wide_shop.call(*arguments)
        assert "\x1b" not in piped.out + piped.err


def test_progress_is_for_a_person_on_stderr(wide_shop: Shop) -> None:
    seen = Seen(wide_shop, "scan", "--source", "wide")
    assert seen.end() == 0
    assert b"\x1b[" in seen.raw
    assert "wide  cycle 3  unchanged  2 rows" in seen.text
    quiet = Seen(wide_shop, "scan", "--source", "wide", "--quiet", NO_COLOR="1")
    assert quiet.end() == 0
    assert quiet.text.startswith("wide  cycle 4  unchanged")


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", "--source", "wide", "--format", "arrow"],
        ["events", "--source", "wide", "--format", "avro"],
        ["export", "--source", "wide", "--format", "parquet"],
    ],
    ids=" ".join,
)
def test_binary_is_refused_to_a_terminal(wide_shop: Shop, arguments: list[str]) -> None:
    seen = Seen(wide_shop, *arguments)
    assert seen.end() == 2
    assert "is binary, and would spoil the terminal" in seen.text.replace("\n", " ")


def test_a_full_disk_behind_stdout_is_told(wide_shop: Shop) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    for arguments in (["events"], ["events", "--json"], ["export", "--source", "wide"], ["status", "--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                (*COMMAND, *arguments),
                cwd=wide_shop.folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert done.returncode == 3, arguments
        assert done.stderr.startswith("error: write the result: No space left on device"), done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_an_output_of_few_letters_shows_the_others_escaped(wide_shop: Shop) -> None:
    done = wide_shop.call("events", "--source", "wide", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.code == 0
    assert "\\u6f22" in done.out
    as_json = wide_shop.call("events", "--source", "wide", "--json", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert as_json.lines[0]["key"]["id"] in ("漢字漢字", "k")


class Screen(Terminal):
    """A terminal of a given width."""

    is_terminal = True  # type: ignore[assignment]
    width = 40  # type: ignore[assignment]

    def styled(self, text: str, *, on_stderr: bool = False, **style: object) -> str:
        return text


def test_a_narrow_table_folds_its_last_column_and_loses_nothing() -> None:
    made = Table(Screen(), [Column(title="n", right=True), Column(title="text")])
    lines = list(made.lines([["1", ["one two three four five six seven eight", "x" * 90]], ["22", ""]]))
    assert max(map(len, lines)) <= 40
    assert "".join(lines).replace(" ", "").count("x") == 92  # one of "six", one of "text"
    assert [line for line in lines if line.startswith("22")] == ["22"]


def test_small_texts() -> None:
    assert clean("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"
    assert clean("a\nb", keep_lines=True) == "a\nb"
    assert (count(None), count(1500000)) == ("-", "1,500,000")
    assert [duration(s) for s in (0.04, 2.14, 75, 7200, 500000)] == ["0.04 s", "2.1 s", "1 min", "2 h", "6 d"]
