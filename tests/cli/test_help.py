"""Every command of the contract is there, explains itself with an example, and costs nothing to ask."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from differ import __version__
from differ.cli.command import Command, LazyGroup
from differ.cli.main import cli
from tests.cli.shop import COMMAND, Shop

CONTRACT = [
    "init", "scan", "run", "events", "status", "sources", "history", "diff", "export", "approve", "reject", "pause",
    "resume", "rebaseline", "modules list", "modules start", "modules stop", "modules restart", "modules pause",
    "modules resume", "consumers list", "consumers show", "consumers reset", "consumers remove", "dead-letters list",
    "dead-letters show", "dead-letters replay", "dead-letters drop",
    "snapshot", "compact", "schemas", "check", "repair", "gc", "iterator new", "iterator test", "config check",
    "config schema", "config show", "completion",
]  # fmt: skip
HEAVY = (
    "pyarrow", "polars", "sqlalchemy", "pydantic", "pandas", "numpy", "rich", "fastavro", "pymongo", "yaml", "fastapi",
    "uvicorn", "urllib3", "prometheus_client",
)  # fmt: skip


def commands(group: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield " ".join(path), group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None, name
        yield from commands(found, (*path, name))


def test_every_command_of_the_contract_is_there() -> None:
    assert set(CONTRACT) <= {name for name, _ in commands()}


@pytest.mark.parametrize("name", CONTRACT)
def test_help_has_an_example_and_all_options(name: str, shop: Shop) -> None:
    help_text = shop.ok(*name.split(), "--help").out
    assert "Example:\n  " in help_text
    for option in ("--project DIR", "--json", "--verbose", "--quiet", "--log-format"):
        assert option in help_text
    assert max(map(len, help_text.splitlines())) <= 80


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_an_example_is_a_command_line_that_parses(name: str, command: click.Command) -> None:
    assert isinstance(command, Command)
    for line in command.example.splitlines():
        own = next(part for part in _parts(line) if part[: len(name.split())] == name.split())
        arguments = own[len(name.split()) :]
        command.make_context(name, arguments, obj=None, resilient_parsing=False)


def _parts(line: str) -> Iterator[list[str]]:
    """The calls of differ in a shell line, without pipes, redirections and quotes around them."""
    for piece in line.replace('"$(', " ; ").replace(')"', " ; ").replace("&&", ";").replace("|", ";").split(";"):
        words = shlex.split(piece.partition(">")[0])
        if words and words[0] == "differ":
            yield words[1:]


def test_options_stand_before_or_after_the_command(shop: Shop) -> None:
    after = shop.ok("sources", "--json").document
    assert after["sources"][0]["source"] == "orders"
    assert shop.ok("--json", "sources").document == after
    elsewhere = subprocess.run(
        (*COMMAND, "--project", str(shop.folder), "sources", "--json"),
        cwd=shop.folder.parent, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(elsewhere.stdout) == after


def test_help_imports_nothing_heavy() -> None:
    """One process for all of them: what none has imported in the end, each has not."""
    asked = [["--help"], ["--version"], *([*name.split(), "--help"] for name in CONTRACT)]
    code = (
        "import sys\n"
        "from differ.cli.main import run\n"
        f"for arguments in {asked}:\n"
        "    assert run(arguments) == 0\n"
        f"    heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "    assert not heavy, (arguments, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done


def test_version(shop: Shop) -> None:
    assert shop.call("--version").out == f"differ {__version__}\n"


def test_a_wrong_command_names_the_nearest(shop: Shop) -> None:
    done = shop.run("stats")
    assert done.code == 2
    assert "did you mean 'status'?" in done.err
    assert shop.run("config", "chekc").err.startswith("error: no such command 'chekc'; did you mean 'check'?")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shop: Shop, shell: str) -> None:
    done = shop.ok("completion", shell)
    assert "_DIFFER_COMPLETE" in done.out
    assert shop.run("completion", "csh").code == 2


def test_completion_knows_sources(shop: Shop) -> None:
    done = shop.call(_DIFFER_COMPLETE="bash_complete", COMP_WORDS="differ scan --source o", COMP_CWORD="3")
    assert done.out.splitlines() == ["plain,orders"]
    commands = shop.call(_DIFFER_COMPLETE="bash_complete", COMP_WORDS="differ st", COMP_CWORD="1")
    assert commands.out.splitlines() == ["plain,status"]


def test_groups_list_their_commands(shop: Shop) -> None:
    assert isinstance(cli, LazyGroup)
    listed = shop.ok("--help").out
    for name in CONTRACT:
        assert f"  {name.split()[0]}" in listed
    assert "show" in shop.ok("config", "--help").out
