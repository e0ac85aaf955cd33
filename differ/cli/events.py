"""`differ events`: committed events from disk, in any format, and as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from differ.cli.command import command
from differ.cli.parameters import SCN, sources_option
from differ.cli.session import Session
from differ.errors import UsageError

if TYPE_CHECKING:
    from differ.cli.reading import Selection
    from differ.formats.batch import EventBatch
    from differ.formats.registry import Format
    from differ.project import Project

FORMATS = ("table", "ndjson", "debezium", "cloudevents", "avro", "arrow")
BINARY = ("avro", "arrow")


@command(example="differ events --source orders --since 41\ndiffer events --follow --format ndjson | jq .key")
@sources_option("Only this source. May be given several times.")
@click.option("--since", type=SCN, metavar="SCN", help="Only events after this SCN.")
@click.option("--until", type=SCN, metavar="SCN", help="Only events up to this SCN; ends --follow there.")
@click.option("--key", metavar="KEY", help="Only of this key: 7, or region=eu,id=7, or JSON. Needs one --source.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many events.")
@click.option("--follow", "-f", "following", is_flag=True, help="Go on with what is committed later.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: table; with --json: ndjson.")
@click.pass_obj
def events(
    session: Session,
    sources: tuple[str, ...],
    since: int | None,
    until: int | None,
    key: str | None,
    limit: int | None,
    following: bool,
    form: str | None,
) -> None:
    """Print change events in the order of their SCNs.

    avro and arrow hold one source and one schema: where the schema changes, the output ends with an error that says how
    to go on.
    """
    from differ.cli.reading import follow, limited, select

    chosen = _format(session, form)
    with session.open() as project:
        selection = select(session, project, sources, since, until, key)
        if chosen in BINARY:
            _check_one_source(project, selection, chosen)
        batches = selection.batches(project)  # also when following: a mistake is told before anything is printed
        if following:
            batches = follow(project, selection, session.terminal.flush)
        written = _write(session, limited(batches, limit), chosen, at_once=following)
        if not written and not session.as_json:
            session.terminal.note("no events")


def _format(session: Session, form: str | None) -> str:
    chosen = form or ("ndjson" if session.as_json else "table")
    if session.as_json and chosen in ("table", *BINARY):
        raise UsageError(f"events: --json and --format {chosen} contradict each other", hint="leave one of them out")
    if chosen in BINARY and session.terminal.is_terminal:
        raise UsageError(
            f"events: {chosen} is binary, and would spoil the terminal",
            hint=f"write it to a file: ... > events.{chosen}",
        )
    return chosen


def _check_one_source(project: Project, selection: Selection, form: str) -> None:
    names = selection.sources or tuple(entry.name for entry in project.catalog.sources())
    if len(names) > 1:
        raise UsageError(
            f"events: one {form} file holds one source, and there are {len(names)}: {', '.join(names)}",
            hint=f"add --source {names[0]}, or use --format ndjson",
        )


def _write(session: Session, batches: Iterator[EventBatch], form: str, *, at_once: bool) -> int:
    if form == "table":
        from differ.cli.eventtable import print_events

        return print_events(session.terminal, batches, at_once=at_once)
    from differ.formats.registry import event_format

    chosen: Format = event_format(form)
    out = session.terminal.bytes

    def flushed() -> Iterator[EventBatch]:
        for batch in batches:
            yield batch
            out.flush()

    try:
        return chosen.write(flushed(), out)
    finally:
        out.flush()
