"""`differ run`, `pause`, `resume` and `rebaseline`: when sources are scanned, and from which base on."""

from __future__ import annotations

import sys

import click

from differ.cli.command import command
from differ.cli.parameters import source_option
from differ.cli.results import exit_code, print_result
from differ.cli.session import Session
from differ.errors import UsageError


@command(example="differ run\ndiffer run --only scheduler,relay", chatty=True)
@click.option("--only", metavar="MODULES", help="Only these, separated by commas: scheduler, relay, bootstrap, sinks.")
@click.pass_obj
def run(session: Session, only: str | None) -> int:
    """Run scheduler, relay, bootstrap server and sinks until SIGTERM or Ctrl-C.

    The scheduler scans sources by their schedules, each cycle in a process of its own. The relay serves the events
    to consumers, and the bootstrap server the states to begin with, both at relay.listen. Each sink writes its
    destination. 'differ modules' shows them, and starts, stops and pauses each one.

    SIGHUP reads scheduler.yaml again and applies what changed. When stopped, running cycles roll back, and the
    exit code is 0.
    """
    from differ.runtime.hosting import MODULES, Hosting

    names = MODULES if only is None else tuple(dict.fromkeys(part.strip() for part in only.split(",")))
    for name in names:
        if name not in MODULES:
            raise UsageError(f"run: there is no module {name!r}", hint=f"there is: {', '.join(MODULES)}")
    Hosting(session.settings(), names, out=sys.stdout).run()
    return 0


@command(example="differ pause --source orders")
@source_option
@click.pass_obj
def pause(session: Session, source: str) -> None:
    """Leave a source out of the schedule and of 'scan --all'. A group rests while one of its sources is paused."""
    with session.open() as project:
        project.pause(source)
    _say(session, source, paused=True)


@command(example="differ resume --source orders")
@source_option
@click.pass_obj
def resume(session: Session, source: str) -> None:
    """Take a paused source back into the schedule."""
    with session.open() as project:
        project.resume(source)
    _say(session, source, paused=False)


def _say(session: Session, source: str, *, paused: bool) -> None:
    if session.as_json:
        session.terminal.json({"source": source, "paused": paused})
    else:
        session.terminal.line(f"{source} is paused" if paused else f"{source} is in the schedule again")


@command(example="differ rebaseline --source orders")
@source_option
@click.option("--wait", is_flag=True, help="Where another process scans the source, wait for it.")
@click.pass_obj
def rebaseline(session: Session, source: str, wait: bool) -> int:
    """Scan now and make what is read the new base, without events.

    For a change of key, query or filter that you do not want as events. Consumers of the source bootstrap.
    """
    from differ.cli.scan import scan_unit

    with session.open() as project:
        group = project.settings.group_of(project.settings.source(source).name)
        project.catalog.set_flag(source, rebaseline=True)
        unit = tuple(group.sources) if group else (source,)
        results = scan_unit(session, project, unit, None, wait=wait, dry_run=False)
        for result in results:
            print_result(session, result)
        entry = project.catalog.source(source)
        if entry is not None and not entry.rebaseline:
            session.terminal.note(
                f"{source}: a new base; what changed since the last scan is no event, and nobody reads on from before "
                f"SCN {entry.floor_scn}: consumers bootstrap"
            )
        return exit_code(results)
