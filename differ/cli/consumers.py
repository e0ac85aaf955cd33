"""`differ consumers`: who follows the stream, how far each one is behind, and to reset or remove one.

It reads and writes the project's own database, so it works also while no relay runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from differ.cli.command import Entry, LazyGroup, command
from differ.cli.parameters import complete_consumer
from differ.cli.session import Session
from differ.cli.table import Cell, Column, Table
from differ.cli.terminal import Terminal, clean, count, duration
from differ.errors import UsageError

if TYPE_CHECKING:
    from differ.project import Project

LINES = {
    "list": "Show every consumer: where it stands, and how far behind.",
    "show": "Show one consumer with its checkpoint.",
    "reset": "Forget a consumer's checkpoint: it bootstraps when it runs next.",
    "remove": "Forget a consumer, so that nothing is kept for it.",
}
_ENTRIES = {
    name: Entry(module="consumers", name="list_consumers" if name == "list" else name, line=line)
    for name, line in LINES.items()
}
_NAME = click.argument("name", shell_complete=complete_consumer)


@click.group(cls=LazyGroup, sections={"Commands": _ENTRIES}, example="differ consumers list")
def consumers() -> None:
    """Show, reset and remove consumers, consumer groups and sinks that keep their checkpoint on the relay."""


@command(example="differ consumers list", name="list", help=LINES["list"])
@click.pass_obj
def list_consumers(session: Session) -> None:
    """See LINES."""
    with session.open() as project:
        found = project.following()
        sinks = project.settings.sinks
    if session.as_json:
        session.terminal.json({"consumers": found})
    elif found:
        print_consumers(session.terminal, found, sinks)
    else:
        session.terminal.note("no consumer is registered; one that keeps its checkpoint on the relay registers itself")


@command(example="differ consumers show index", help=LINES["show"])
@_NAME
@click.pass_obj
def show(session: Session, name: str) -> None:
    """See LINES."""
    with session.open() as project:
        entry = project.consumers.get(name)
        if entry is None:
            raise unknown(project, name)
        (body,) = project.following([entry])
    if session.as_json:
        session.terminal.json(body)
        return
    line = session.terminal.labelled
    behind = body["behind"]
    line("consumer    ", f"{name} ({body['kind']})")
    line("client      ", body["client"] or "-")
    line("sources     ", ", ".join(body["sources"]) or "all")
    line("state       ", body["state"])
    line("stands at   ", "nowhere yet" if body["scn"] is None else f"SCN {count(body['scn'])}")
    line("behind      ", "-" if behind is None else _lag(behind))
    line("moved       ", _age(body))
    line("kept for it ", "nothing" if body["holds"] is None else _held(body))
    line("registered  ", body["created_at"])
    if body["checkpoint"]:
        line("checkpoint  ", _text(body["checkpoint"]))
    for partitions, checkpoint in body.get("partitions", {}).items():
        line("partitions  ", f"{partitions}: {_text(checkpoint) if checkpoint else 'no checkpoint'}")
    for member in body.get("members", []):
        line("member      ", f"{member['client'] or member['member']}: {member['partitions'] or 'stands by'}")


@command(example="differ consumers reset index", help=LINES["reset"])
@_NAME
@click.pass_obj
def reset(session: Session, name: str) -> None:
    """See LINES."""
    with session.open() as project:
        if not project.consumers.reset(name):
            raise unknown(project, name)
    if session.as_json:
        session.terminal.json({"consumer": name, "reset": True})
    else:
        is_sink = name.startswith("sink.")
        then = "the sink bootstraps, at once where it runs" if is_sink else "stop and start it, and it bootstraps"
        session.terminal.line(f"{clean(name)} has no checkpoint any more; {then}")


@command(example="differ consumers remove index", help=LINES["remove"])
@_NAME
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """See LINES."""
    with session.open() as project:
        if not project.consumers.remove(name):
            raise unknown(project, name)
    if session.as_json:
        session.terminal.json({"consumer": name, "removed": True})
    else:
        session.terminal.line(f"{clean(name)} is removed; if it still runs, it registers itself again")


def print_consumers(terminal: Terminal, found: Sequence[Mapping[str, Any]], sinks: Collection[str]) -> None:
    """A table of consumers; also part of `differ status`. sinks: the names of those that are configured."""
    columns = [
        Column(title="consumer"),
        Column(title="kind"),
        Column(title="state"),
        Column(title="SCN", right=True),
        Column(title="behind", right=True),
        Column(title="moved"),
        Column(title="notes"),
    ]
    rows: list[list[Cell]] = [
        [
            body["name"],
            body["kind"],
            body["state"],
            count(body["scn"]),
            count(body["behind"]["events"] if body["behind"] else None),
            _age(body),
            _notes(body, sinks),
        ]
        for body in found
    ]
    Table(terminal, columns).print(rows)
    for body in found:
        if body["holds"]:
            terminal.line()
            terminal.labelled(f"{body['name']}: ", _held(body))


def unknown(project: Project, name: str) -> UsageError:
    """The error for a consumer that is not registered, with the nearest name."""
    from differ.config.problems import suggestion

    names = {entry.name: entry for entry in project.consumers.all()}
    return UsageError(f"there is no consumer {name!r}", hint=suggestion(name, names))


def _notes(body: Mapping[str, Any], sinks: Collection[str]) -> list[str]:
    notes = [f"sources {', '.join(body['sources'])}"] if body["sources"] else []
    if body["kind"] == "sink" and body["name"].removeprefix("sink.") not in sinks:
        notes.append("not in scheduler.yaml")
    if body["behind"] and body["behind"]["events"]:
        notes.append(f"the first waits for {duration(body['behind']['seconds'])}")
    return notes


def _lag(behind: Mapping[str, Any]) -> str:
    if not behind["events"]:
        return "nothing waits"
    return f"{count(behind['events'])} events, the first for {duration(behind['seconds'])}"


def _held(body: Mapping[str, Any]) -> str:
    """What is kept on the disk for a consumer that does not come, and how to end that."""
    size = f"{count(body['holds']['bytes'])} bytes of events past relay.retention"
    if not body["holds"]["within"]:
        return f"it has not read {size}, more than hold_for_consumers: they go, and it will have to bootstrap"
    return f"{size} are kept for it; if it is gone for good: differ consumers remove {shlex.quote(body['name'])}"


def _age(body: Mapping[str, Any]) -> str:
    age = body["checkpoint_age_seconds"]
    return "never" if age is None else f"{duration(age)} ago"


def _text(checkpoint: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {value}" for name, value in checkpoint.items())
