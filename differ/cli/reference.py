"""The pages docs/cli.md and docs/errors.md, written from the commands and the error classes themselves.

    python -m differ.cli.reference docs        writes both pages into the folder

Invariant: a command, option or error class that exists is on its page; a test holds the pages to what this gives.
Source: the generated command pages of sqlite-utils.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from differ import errors
from differ.cli.command import Command, LazyGroup
from differ.cli.main import SECTIONS, cli
from differ.cli.results import WORST_FIRST

NOTE = "<!-- Generated from the code by `make docs`. Do not edit. -->"
EXIT_CODES = {
    0: "fine",
    1: "changes were found, and `--fail-if-changed` asked to be told so",
    2: "usage or configuration is wrong",
    3: "a source or its scan failed, or differ could not do what was asked",
    4: "a guard holds a cycle",
    5: "corruption was found",
    6: "another writer holds the source",
    7: "relay or consumer error",
    130: "interrupted by Ctrl-C or SIGTERM",
}


def cli_markdown() -> str:
    """The page of all commands; deterministic. Imports every command."""
    parts = [f"# The command line\n\n{NOTE}\n\n{_INTRODUCTION}\n"]
    for title, entries in SECTIONS.items():
        rows = [row for name in entries for row in _index_rows(name)]
        parts.append("\n".join([f"**{title}**\n", "| command | does |", "|---|---|", *rows, ""]))
    parts.append("## Exit codes\n\n| code | meaning |\n|---|---|")
    parts.extend(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append(
        "\nWith several sources the exit code is the worst of them, in the order"
        f" {', '.join(map(str, WORST_FIRST))}. Which error gives which code is in [errors](errors.md).\n"
    )
    parts.append("## Options of all commands\n\n" + _options(cli, cli))
    parts.extend(_page(name, command) for name, command in all_commands())
    return "\n".join(parts).rstrip() + "\n"


def errors_markdown() -> str:
    """The page of all error classes; deterministic."""
    parts = [f"# Errors\n\n{NOTE}\n\n{_ERRORS_INTRODUCTION}\n", "## Exit codes\n\n| code | meaning |\n|---|---|"]
    parts.extend(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append("\n## Classes\n\n| class | a kind of | exit code | transient | meaning |\n|---|---|---|---|---|")
    for error in error_classes():
        parent = error.__bases__[0].__name__
        doc = _cell(inspect.getdoc(error) or "")
        row = [f"`{error.__name__}`", f"`{parent}`", str(error.exit_code), "yes" if error.transient else "", doc]
        parts.append(f"| {' | '.join(row)} |")
    return "\n".join(parts) + "\n"


def all_commands() -> list[tuple[str, click.Command]]:
    """Every command with its full name, `differ iterator new`, in the order of the help; groups are not in it."""
    return list(_walk("differ", cli))


def error_classes() -> list[type[errors.DifferError]]:
    """Every error class, in the order in which they are defined."""
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.DifferError) and one.__module__ == errors.__name__
    ]


def _walk(prefix: str, group: LazyGroup) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, LazyGroup):
            yield from _walk(f"{prefix} {name}", command)
        elif command is not None:
            yield f"{prefix} {name}", command


def _index_rows(name: str) -> Iterator[str]:
    """The rows of the table of contents for a command, or for the commands of a group."""
    command = cli.get_command(click.Context(cli), name)
    lines = {entry: line.line for section in SECTIONS.values() for entry, line in section.items()}
    if isinstance(command, LazyGroup):
        lines = {f"{name} {one}": entry.line for part in command.sections.values() for one, entry in part.items()}
    else:
        lines = {name: lines[name]}
    for full, line in lines.items():
        yield f"| [`differ {full}`](#differ-{full.replace(' ', '-')}) | {line} |"


def _page(name: str, command: click.Command) -> str:
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    shown = " ".join([name, *(param.make_metavar(click.Context(command)) for param in arguments), "[OPTIONS]"])
    parts = [f"## {name}\n", f"    {shown}\n", f"{_prose(command.help or '')}\n"]
    if options := _options(command, cli):
        parts.append(options)
    if isinstance(command, Command):
        parts.append("```\n" + command.example + "\n```\n")
    return "\n".join(parts)


def _options(command: click.Command, root: click.Command) -> str:
    """The table of a command's own options; those of all commands are left out but for the root."""
    common = set() if command is root else {param.name for param in root.params}
    context = click.Context(command)
    records = [
        record
        for param in command.params
        if isinstance(param, click.Option)
        and (param.name not in common or command is root)
        and (record := param.get_help_record(context))
    ]
    if not records:
        return ""
    rows = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in records]
    return "\n".join(["| option | meaning |", "|---|---|", *rows, ""])


def _prose(text: str) -> str:
    """A help text as Markdown: paragraphs stay, what click was told not to wrap becomes a block of code."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            paragraphs.append("```\n" + paragraph.removeprefix("\b").strip("\n") + "\n```")
        else:
            paragraphs.append(" ".join(paragraph.split()))
    return "\n\n".join(paragraphs)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


_INTRODUCTION = """\
Results go to stdout; progress, logs and errors to stderr. With `--json` a command prints one JSON document, or one a
line where there are many. Tables are fitted to the terminal; in a pipe nothing is cut. Colour and progress bars are
shown on a terminal only, and `NO_COLOR` switches colour off."""

_ERRORS_INTRODUCTION = """\
Every error that differ raises on purpose is a `differ.errors.DifferError`. Its `message` says what was done to what and
why that failed, its `hint` what to do next; neither ever shows a secret. On the command line both are printed to
stderr, and the class decides the exit code. *Transient* means that the same may well work later, without anybody
mending anything: a scheduler may simply try again."""


def main(arguments: list[str]) -> int:
    """Write both pages into the folder that is named."""
    folder = Path(arguments[0])
    (folder / "cli.md").write_text(cli_markdown(), encoding="utf-8")
    (folder / "errors.md").write_text(errors_markdown(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
