"""`differ history` and `differ diff`: what happened to one key, and what is different between two SCNs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from differ.cli.command import command
from differ.cli.parameters import SCN, source_option
from differ.cli.session import Session
from differ.cli.table import OP_STYLES, Cell, Column, Table
from differ.cli.terminal import count
from differ.errors import UsageError

if TYPE_CHECKING:
    from differ.project import Project

PAGE_ROWS = 200


@command(example="differ history --source orders --key 7")
@source_option
@click.option("--key", required=True, metavar="KEY", help="The key: 7, or region=eu,id=7, or JSON.")
@click.pass_obj
def history(session: Session, source: str, key: str) -> None:
    """Show everything that happened to one key within retention, and whether it exists now."""
    from differ.formats.ndjson import event_objects

    with session.open() as project:
        # Also what happened before a new base without events: each event is true of its moment.
        batches = project.event_batches(source, key=key, across_floors=True)
        found = [event for batch in batches for event in event_objects(batch)]
        rows = _rows_now(project, source, key)
    if session.as_json:
        session.terminal.json({"source": source, "key": key, "exists": bool(rows), "rows": rows, "events": found})
        return
    terminal = session.terminal
    if found:
        columns = [
            Column(title="scn", right=True),
            Column(title="detected"),
            Column(title="op", style=lambda text: OP_STYLES.get(text, {})),
            Column(title="change"),
        ]
        Table(terminal, columns).print([_history_row(session, event) for event in found])
    else:
        terminal.line(f"no events of key {key}")
    for row in rows:
        terminal.labelled("exists now: ", _shown(row))
    if not rows:
        terminal.line("does not exist now")


def _rows_now(project: Project, source: str, key: str) -> list[dict[str, Any]]:
    from differ.formats.state import json_rows

    found = project.record(source, key)
    return [] if found is None else list(json_rows(found, project.snapshot(source).schema))


def _shown(row: Mapping[str, Any]) -> str:
    from differ.formats.table import show

    return ", ".join(f"{name}={show(value, None)}" for name, value in row.items())


def _history_row(session: Session, event: Mapping[str, Any]) -> Sequence[Cell]:
    from differ.cli.eventtable import detail
    from differ.formats.table import event_row

    row = event_row(event, whole=not session.terminal.is_terminal)
    moment = event["detected_at"][:19].replace("T", " ")
    return [str(row.scn), moment, row.op, detail(row)]


@command(example="differ diff --source orders --from 41 --to 57")
@source_option
@click.option("--from", "since", type=SCN, required=True, metavar="SCN", help="The earlier point.")
@click.option("--to", "until", type=SCN, metavar="SCN", help="The later point. Default: the head.")
@click.option("--format", "form", type=click.Choice(["table", "ndjson"]), help="Default: table; with --json: ndjson.")
@click.pass_obj
def diff(session: Session, source: str, since: int, until: int | None, form: str | None) -> None:
    """Show net changes between two SCNs: at most one a key, whatever happened in between."""
    from differ.cli.reading import select

    if session.as_json and form == "table":
        raise UsageError("diff: --json and --format table contradict each other", hint="leave one of them out")
    with session.open() as project:
        head = project.catalog.stream().head_scn
        end = head if until is None else until
        if end > head:
            raise UsageError(f"diff up to SCN {end}: the head is {head}", hint="see 'differ status'")
        select(session, project, [source], since, end, None)
        changes = project.net_changes(source, since, end)
        if session.as_json or form == "ndjson":
            for change in changes:
                session.terminal.json(change)
            return
        if not _print_changes(session, changes):
            session.terminal.note(f"no difference between SCN {since} and SCN {end}")


def _print_changes(session: Session, changes: Iterator[dict[str, Any]]) -> int:
    from differ.cli.eventtable import detail
    from differ.formats.table import event_row

    columns = [
        Column(title="op", style=lambda text: OP_STYLES.get(text, {})),
        Column(title="key"),
        Column(title="events", right=True),
        Column(title="change"),
    ]
    table = Table(session.terminal, columns)
    total = 0
    while page := list(islice(changes, PAGE_ROWS)):
        rows = [(event_row(change, whole=not session.terminal.is_terminal), change) for change in page]
        table.print([[row.op, row.key, count(change["events"]), detail(row)] for row, change in rows])
        total += len(page)
    return total
