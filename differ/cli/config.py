"""`differ config`: check scheduler.yaml, print its JSON Schema, show the settings in effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from differ.cli.command import Entry, LazyGroup, command
from differ.cli.session import Session
from differ.cli.terminal import count
from differ.errors import DifferError

if TYPE_CHECKING:
    from differ.config import Settings

SECTIONS = {
    "Commands": {
        "check": Entry(module="config", name="check", line="Validate scheduler.yaml and the plugins it names."),
        "schema": Entry(module="config", name="schema", line="Print the JSON Schema that editors complete from."),
        "show": Entry(module="config", name="show", line="Show the settings in effect, secrets hidden."),
    }
}


@click.group(cls=LazyGroup, sections=SECTIONS, example="differ config check")
def config() -> None:
    """Check and show scheduler.yaml."""


@command(example="differ config check")
@click.pass_obj
def check(session: Session) -> None:
    """Validate scheduler.yaml, the plugins it names, and the options and hooks of its sinks.

    Says everything that is wrong in the file, by line and key. Connects to nothing.
    """
    from differ.iterators.discovery import find_iterator

    settings = session.settings()
    problems: dict[str, DifferError] = {}
    for source in settings.sources.values():
        try:
            find_iterator(source.iterator, settings.project)
        except DifferError as error:
            problems.setdefault(source.iterator, error)
    problems |= _sinks(settings)
    told = list(problems.values())
    for problem in told[:-1]:
        session.terminal.complain(problem.message, problem.hint)
    if told:
        raise told[-1]
    body = {"sources": len(settings.sources), "consistency_groups": len(settings.consistency_groups)}
    if session.as_json:
        session.terminal.json({"ok": True, "project": str(settings.project), **body})
    else:
        sources = count(body["sources"]) + (" source" if body["sources"] == 1 else " sources")
        number = len(settings.sinks)
        sinks = f", {count(number)} sink{'' if number == 1 else 's'}" if number else ""
        session.terminal.line(f"{settings.project / 'scheduler.yaml'} is valid: {sources}{sinks}")


def _sinks(settings: Settings) -> dict[str, DifferError]:
    """What is wrong with sinks, by `sinks.NAME`: kind, options, hooks."""
    if not settings.sinks:
        return {}
    from differ.sinks.runner import SinkRunner

    problems: dict[str, DifferError] = {}
    for sink in settings.sinks.values():
        try:
            SinkRunner(settings, sink)
        except DifferError as error:
            problems[f"sinks.{sink.name}"] = error
    return problems


@command(example="differ config schema > scheduler.schema.json")
@click.pass_obj
def schema(session: Session) -> None:
    """Print the JSON Schema that editors complete from."""
    from differ.config import json_schema

    session.terminal.json(json_schema(), indent=None if session.as_json else 2)


@command(example="differ config show")
@click.pass_obj
def show(session: Session) -> None:
    """Show the settings in effect, defaults included, as YAML with secrets hidden."""
    from differ.config import shown

    text = shown(session.settings())
    if session.as_json:
        import yaml

        session.terminal.json(yaml.safe_load(text))
    else:
        session.terminal.line(text.rstrip("\n"))
