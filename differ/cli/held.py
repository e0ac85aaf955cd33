"""`differ approve` and `differ reject`: a person ends what a guard holds, knowing what it is.

Invariant: only the cycle and hash that the person saw are ended: named on the command line, or shown before the
question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from differ.cli.command import command
from differ.cli.parameters import source_option
from differ.cli.results import exit_code, print_result
from differ.cli.session import Session
from differ.cli.terminal import clean, count
from differ.errors import HeldError, UsageError

if TYPE_CHECKING:
    from differ.project import Project

SHOWN_EVENTS = 10
Bound = tuple[int, str | None]


def _options(function: Any) -> Any:
    for option in (
        click.option("--wait", is_flag=True, help="Where another process scans the source, wait for it."),
        click.option("--yes", is_flag=True, help="Take what is held now, without asking."),
        click.option("--hash", "digest", metavar="HASH", help="The held cycle's hash, as 'differ status' shows it."),
        click.option("--cycle", type=click.IntRange(min=1), metavar="N", help="The held cycle's number."),
        source_option,
    ):
        function = option(function)
    return function


@command(example="differ approve --source orders --cycle 4 --hash 3c1f0a9be2d84756")
@_options
@click.pass_obj
def approve(session: Session, source: str, cycle: int | None, digest: str | None, yes: bool, wait: bool) -> int:
    """Commit the cycle that a guard holds, with all of its consistency group.

    Without a terminal to ask on, --cycle and --hash are needed, or --yes to take whatever is held.
    """
    return _end(session, "approve", source, cycle, digest, yes, wait)


@command(example="differ reject --source orders --cycle 4 --hash 3c1f0a9be2d84756")
@_options
@click.pass_obj
def reject(session: Session, source: str, cycle: int | None, digest: str | None, yes: bool, wait: bool) -> int:
    """Throw away the cycle that a guard holds; the next scan compares with the same state as it did.

    Without a terminal to ask on, --cycle and --hash are needed, or --yes to take whatever is held.
    """
    return _end(session, "reject", source, cycle, digest, yes, wait)


def _end(session: Session, verb: str, source: str, cycle: int | None, digest: str | None, yes: bool, wait: bool) -> int:
    with session.open() as project:
        if (cycle is None or digest is None) and not yes:
            cycle, digest = _asked(session, project, verb, source, cycle, digest)
        with session.interrupts.shielded():
            end = project.approve if verb == "approve" else project.reject
            results = end(source, cycle=cycle, hash=digest, wait=wait)
        for result in results:
            print_result(session, result)
        return exit_code(results)


def _asked(session: Session, project: Project, verb: str, source: str, cycle: int | None, digest: str | None) -> Bound:
    """The cycle and hash that the person was shown and agreed to."""
    terminal = session.terminal
    if not terminal.can_ask or session.as_json:
        raise UsageError(
            f"{verb} {source}: there is no terminal to ask on",
            hint="name what you saw with --cycle and --hash (see 'differ status'), or give --yes",
        )
    held = project.catalog.held(project.known(source))
    if held is None:
        raise UsageError(f"{verb} {source}: nothing is held", hint="see 'differ status'")
    if cycle not in (None, held.cycle) or digest not in (None, held.result.get("hash")):
        return cycle if cycle is not None else held.cycle, digest  # refused by the project, in its words
    body = held.result
    terminal.note(f"{source} cycle {held.cycle} is held: {clean(str(body.get('reason')))}")
    for change in body.get("schema_changes") or ():
        terminal.note(f"its schema: {clean(str(change))}")
    terminal.note(
        f"it has {count(body.get('rows'))} rows: {count(body.get('inserts'))} inserts, "
        f"{count(body.get('updates'))} updates, {count(body.get('deletes'))} deletes, such as"
    )
    _show_events(session, project, source)
    if not session.agrees(f"{verb} it?"):
        raise HeldError(f"{verb} {source}: you said no, and cycle {held.cycle} stays held")
    return held.cycle, body.get("hash")


def _show_events(session: Session, project: Project, source: str) -> None:
    from differ.cli.eventtable import cells, event_table
    from differ.cli.reading import limited
    from differ.formats.table import event_rows

    batches = limited(iter(project.held_batches(source)), SHOWN_EVENTS)
    page = [cells(row)[1:] for batch in batches for row in event_rows(batch)]
    for line in event_table(session.terminal, with_scn=False).lines(page):
        session.terminal.note(f"  {line}")
