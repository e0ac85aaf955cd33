"""`differ snapshot` and `differ compact`: where the current state lies, how to read it, and a new base for it."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from differ.cli.command import command
from differ.cli.parameters import source_option
from differ.cli.results import exit_code, print_result
from differ.cli.session import Session
from differ.cli.terminal import count

if TYPE_CHECKING:
    from differ.snapshots.snapshot import Snapshot

FILES_NAMED = 3


@command(example='differ snapshot --source orders\nduckdb -c "$(differ snapshot --source orders --sql)"')
@source_option
@click.option("--sql", is_flag=True, help="Print one DuckDB query that reads the current state.")
@click.pass_obj
def snapshot(session: Session, source: str, sql: bool) -> None:
    """Show where the current state lies and how to read it with DuckDB, pandas or Python.

    The files stay until later cycles push them out ('snapshots.keep'); ask again after that.
    """
    from differ.snapshots.duckdb import state_query

    with session.open() as project:
        found = project.snapshot(project.known(source))
    query = state_query(found.root, found.manifest)
    if session.as_json:
        parts = [{"kind": part.kind, "path": _path(found, part.file.path)} for part in found.manifest.parts]
        removed = [_path(found, item.file.path) for item in found.manifest.removed]
        body = {"source": source, "cycle": found.manifest.cycle, "scn": found.scn, "rows": found.rows}
        session.terminal.json({**body, "parts": parts, "removed": removed, "sql": query})
    elif sql:
        session.terminal.line(query)
    else:
        _print_places(session, source, found)


def _print_places(session: Session, source: str, found: Snapshot) -> None:
    line = session.terminal.line
    manifest = found.manifest
    line(f"{source} as of SCN {found.scn}: {count(found.rows)} rows, cycle {manifest.cycle}")
    for part in manifest.parts:
        line(f"  {part.kind:<8}{_path(found, part.file.path)}")
    for item in manifest.removed:
        line(f"  removed {_path(found, item.file.path)}")
    line()
    line(f'DuckDB  duckdb -c "$(differ snapshot --source {source} --sql)"')
    if manifest.removed or any(part.kind == "delta" for part in manifest.parts):
        line("pandas  the state is a base with deltas; read it by the query above, by Python below, or after")
        line(f"        differ compact --source {source}")
    else:
        paths = [_path(found, part.file.path) for part in manifest.parts]
        line(f"pandas  pandas.read_parquet({_files(paths)})")
    line(f"Python  differ.open({str(session.settings().project)!r}).snapshot({source!r}).to_pandas()")


def _files(paths: Sequence[str]) -> str:
    """Python for these files: by name while they are few, else by a pattern for all of the cycle's folder."""
    if len(paths) <= FILES_NAMED:
        return repr(paths[0] if len(paths) == 1 else list(paths))
    return f"glob.glob({glob.escape(str(Path(paths[0]).parent)) + '/part-*.parquet'!r})"


def _path(found: Snapshot, relative: str) -> str:
    return str(Path(found.root, relative).absolute())


@command(example="differ compact --source orders")
@source_option
@click.option("--wait", is_flag=True, help="Where another process scans the source, wait for it.")
@click.pass_obj
def compact(session: Session, source: str, wait: bool) -> int:
    """Write the current state as one new base now; a cycle that changes no row and makes no event."""
    with session.open() as project:
        result = project.compact(source, wait=wait)
    print_result(session, result)
    return exit_code([result])
