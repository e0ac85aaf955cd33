"""`differ iterator`: write a plugin to start from, hold one against the contract, list what there is."""

from __future__ import annotations

from pathlib import Path

import click

from differ.cli.command import Entry, LazyGroup, command
from differ.cli.session import Session
from differ.cli.terminal import clean
from differ.errors import UsageError

_ENTRIES = {
    "new": Entry(module="iterator", name="new", line="Write a plugin to start from."),
    "test": Entry(module="iterator", name="test", line="Hold a plugin against the iterator contract."),
    "list": Entry(module="iterator", name="list_all", line="List the iterators that this project can use."),
}


@click.group(cls=LazyGroup, sections={"Commands": _ENTRIES}, example="differ iterator new prices --kind sql")
def iterator() -> None:
    """Make and test iterator plugins."""


@command(name="new", example="differ iterator new prices --kind sql")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["sql", "mongodb", "python"]),
    default="python",
    show_default=True,
    help="What it reads: a query, a pipeline, or anything by code of your own.",
)
@click.pass_obj
def new(session: Session, name: str, kind: str) -> None:
    """Write iterators/NAME.py, small and working, and print what to add to scheduler.yaml.

    A file that is there is never overwritten.
    """
    from differ.config import find_project
    from differ.iterators.scaffold import new_iterator

    made = new_iterator(find_project(session.project or Path.cwd()), name, kind)
    if session.as_json:
        session.terminal.json({"path": str(made.path), "yaml": made.yaml})
        return
    say = session.terminal.line
    say(f"Wrote {made.path}. Change it, and add below 'sources:' in scheduler.yaml:")
    say()
    say(made.yaml.rstrip())
    say()
    say(f"Then: differ iterator test {name}")


@command(name="test", example="differ iterator test order_view")
@click.argument("name")
@click.option("--source", metavar="NAME", help="The source whose options are used. Default: the one that names it.")
@click.pass_obj
def test(session: Session, name: str, source: str | None) -> int:
    """Run the conformance suite on the iterator NAME: it scans the source three times and commits nothing.

    The source should be small and not written to meanwhile. The exit code is 3 when a check fails.
    """
    from differ.iterators.discovery import find_iterator
    from differ.testing import check_iterator

    settings = session.settings()
    users = [one.name for one in settings.sources.values() if one.iterator == name]
    if source is None:
        spec = find_iterator(name, settings.project)
        if len(users) != 1:
            which = f"these do: {', '.join(users)}" if users else "no source of scheduler.yaml names it"
            raise UsageError(
                f"test iterator {name!r}: with the options of which source? {which}",
                hint="say --source NAME" if users else f"add a source with 'iterator: {name}', then try again",
            )
        source = users[0]
    chosen = settings.source(source)
    if chosen.iterator != name:
        raise UsageError(
            f"test iterator {name!r}: source {source!r} uses the iterator {chosen.iterator!r}",
            hint=f"sources that use it: {', '.join(users) or 'none'}",
        )
    spec = find_iterator(name, settings.project)
    report = check_iterator(spec, chosen.options, project=settings.project, source=source, key=chosen.key)
    if session.as_json:
        session.terminal.json(report.to_json())
    else:
        session.terminal.line(clean(str(report), keep_lines=True))
    return 0 if report.passed else 3


@command(name="list", example="differ iterator list")
@click.pass_obj
def list_all(session: Session) -> None:
    """List the iterators that this project can use, where each comes from, and why one cannot be used."""
    from differ.iterators.discovery import list_iterators

    settings = session.settings()
    found = list_iterators(settings.project)
    if session.as_json:
        for one in found:
            error = {"error": one.error.message, "hint": one.error.hint} if one.error else {}
            key = {"key": list(one.spec.key)} if one.spec else {}
            session.terminal.json({"name": one.name, "where": one.where} | key | error)
        return
    from differ.cli.table import Column, Table

    table = Table(session.terminal, [Column(title="iterator"), Column(title="key"), Column(title="where")])
    table.print([[one.name, ", ".join(one.spec.key) if one.spec else "-", one.where] for one in found])
    for one in found:
        if one.error is not None:
            session.terminal.complain(one.error.message, one.error.hint)
