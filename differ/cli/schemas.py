"""`differ schemas`: every version of a source's schema, with what changed, for people and for code generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from differ.cli.command import command
from differ.cli.parameters import complete_source
from differ.cli.session import Session
from differ.cli.terminal import clean

if TYPE_CHECKING:
    from differ.catalog.reading import SchemaEntry


@command(example="differ schemas --source orders --format avro")
@click.option("--source", metavar="NAME", shell_complete=complete_source, help="Only this source.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["avro", "arrow", "json"]),
    help="One JSON line a version: the Avro schema of events, or the Arrow or JSON Schema of rows.",
)
@click.pass_obj
def schemas(session: Session, source: str | None, form: str | None) -> None:
    """Show every version of a source's schema; the id is what events carry."""
    from differ.catalog.schema_document import schema_document

    with session.open() as project:
        found = project.catalog.schemas(project.known(source) if source is not None else None)
    if form is not None or session.as_json:
        for entry in found:
            session.terminal.json(schema_document(entry, form))
        return
    if not found:
        session.terminal.note("no schemas yet: no source had a committed cycle")
    _print(session, found)


def _print(session: Session, found: Sequence[SchemaEntry]) -> None:
    line = session.terminal.line
    for number, entry in enumerate(found):
        if number:
            line()
        when = entry.created_at.strftime("%Y-%m-%d %H:%M:%S")
        line(f"{entry.source} version {entry.version}  id {entry.id}  {when} UTC")
        for change in entry.changes:
            line(f"  changed  {clean(change)}")
        width = max(len(name) for name in entry.schema.names)
        for column in entry.schema.columns:
            key = "  key" if column.name in entry.schema.key else ""
            line(f"  {clean(column.name):<{width}}  {column.type}{key}")
