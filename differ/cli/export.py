"""`differ export`: the state of a source as of an SCN, as one file."""

from __future__ import annotations

from pathlib import Path

import click

from differ.cli.command import command
from differ.cli.parameters import SCN, source_option
from differ.cli.session import Session
from differ.cli.terminal import count
from differ.errors import UsageError

FORMATS = ("parquet", "csv", "ndjson")


@command(example="differ export --source orders --as-of 57 --format parquet --out orders.parquet")
@source_option
@click.option("--as-of", type=SCN, metavar="SCN", help="The state after this SCN. Default: now.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by the name of FILE, else ndjson.")
@click.option("--out", metavar="FILE", default="-", show_default=True, help="Where to write; - is stdout.")
@click.pass_obj
def export(session: Session, source: str, as_of: int | None, form: str | None, out: str) -> None:
    """Write the state of a source to a file, which appears whole or not at all.

    An SCN inside a window is rounded down to the window before. In CSV, texts are in quotes, so NULL (nothing) and an
    empty text ("") differ; bytes are base64, documents and lists JSON.
    """
    chosen = form or _by_name(out)
    if out == "-":
        if session.as_json:
            raise UsageError("export: --json needs --out FILE", hint="stdout holds the state itself; leave --json out")
        if chosen == "parquet" and session.terminal.is_terminal:
            raise UsageError("export: parquet is binary, and would spoil the terminal", hint="add --out FILE")
    from differ.cli.outfile import whole_file
    from differ.formats.state import STATE_FORMATS

    write = STATE_FORMATS[chosen]
    with session.open() as project:
        snapshot = project.snapshot(project.known(source), as_of)
        if out == "-":
            stream = session.terminal.bytes
            rows = write(snapshot.to_batches(), snapshot.schema, stream)
            stream.flush()
        else:
            with whole_file(Path(out)) as file:
                rows = write(snapshot.to_batches(), snapshot.schema, file)
        inside = project.catalog.window_of(as_of) if as_of else None
    if inside is not None and inside.last != as_of:
        session.terminal.note(
            f"SCN {as_of} lies inside the window {inside.first}..{inside.last}: this is the state before that window"
        )
    if session.as_json:
        session.terminal.json({"source": source, "scn": snapshot.scn, "rows": rows, "format": chosen, "out": out})
    else:
        session.terminal.note(f"{source} as of SCN {snapshot.scn}: {count(rows)} rows as {chosen}" + _where(out))


def _by_name(out: str) -> str:
    ending = Path(out).suffix.lstrip(".").lower()
    return {"jsonl": "ndjson"}.get(ending, ending) if ending in (*FORMATS, "jsonl") else "ndjson"


def _where(out: str) -> str:
    return "" if out == "-" else f" in {out}"
