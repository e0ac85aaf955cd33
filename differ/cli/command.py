"""What all commands share: the global options before and after their name, an example in their help, lazy import.

Invariant: asking for help imports click and nothing heavy; a command's module is imported when the command is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from differ.cli.logs import start_logging
from differ.cli.session import Session
from differ.errors import InterruptedScanError


def _told(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that puts what was given into the session; an option that was not given changes nothing."""

    def tell(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(Session), attribute, value)

    return tell


def _quiet(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        session = ctx.ensure_object(Session)
        session.verbosity = -1
        session.terminal.quiet = True


def global_options() -> list[click.Option]:
    """The options that stand before or after every command's name."""
    return [
        click.Option(
            ["--project"],
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            expose_value=False,
            callback=_told("project"),
            help="The project's folder. Default: the nearest above that holds a scheduler.yaml.",
        ),
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_told("as_json"), help="Print JSON."),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_told("verbosity"),
            help="Log what is done; -vv logs more, with tracebacks.",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_quiet, help="Only errors on stderr."
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            expose_value=False,
            callback=_told("log_format"),
            help="How logs on stderr look. Default: text.",
        ),
    ]


class ReaderGoneError(Exception):
    """Whoever reads stdout has gone; kept from click, which would end the process with 1."""


class Command(click.Command):
    """A command with the global options and an example. chatty: logs what it does also without -v."""

    def __init__(self, *args: Any, example: str, chatty: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.example = example
        self.chatty = chatty
        self._common = global_options()
        self.params.extend(self._common)

    def invoke(self, ctx: click.Context) -> Any:
        """Start the logs, then run."""
        session = ctx.ensure_object(Session)
        start_logging(session.verbosity, session.log_format, chatty=self.chatty)
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except KeyboardInterrupt as error:  # click would write an empty line
            raise InterruptedScanError(f"{ctx.info_name}: interrupted") from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then those of all commands."""
        own = [record for p in self.get_params(ctx) if p not in self._common and (record := p.get_help_record(ctx))]
        common = [record for p in self._common if (record := p.get_help_record(ctx))]
        for title, records in (("Options", own), ("Options of all commands", common)):
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example."""
        _write_example(formatter, self.example)


def command(*, example: str, chatty: bool = False, **more: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command whose help shows `example`, a complete command line."""

    def make(function: Callable[..., Any]) -> Command:
        made = click.command(cls=Command, example=example, chatty=chatty, **more)(function)
        assert isinstance(made, Command)  # noqa: S101
        return made

    return make


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a command lives: module below `differ.cli`, its name there, and its line in the list of commands."""

    module: str
    name: str
    line: str


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named. sections: title -> command -> entry."""

    def __init__(
        self, *args: Any, sections: Mapping[str, Mapping[str, Entry]], example: str | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.sections = sections
        self.example = example
        self.params.extend(global_options())
        self._entries = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the sections."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of this name."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        found = getattr(import_module(f"differ.cli.{entry.module}"), entry.name)
        assert isinstance(found, click.Command)  # noqa: S101
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; raises NoSuchCommand with the nearest name."""
        if args and args[0] not in self._entries and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], self._entries, 1)
            more = f"did you mean {close[0]!r}?" if close else f"see '{ctx.command_path} --help'"
            raise click.UsageError(f"no such command {args[0]!r}; {more}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without importing them."""
        for title, entries in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.line) for name, entry in entries.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, where there is one."""
        if self.example:
            _write_example(formatter, self.example)


def _write_example(formatter: click.HelpFormatter, example: str) -> None:
    with formatter.section("Example"):
        for line in example.splitlines():
            formatter.write(f"  {line}\n")
