"""`differ modules`: what runs in the processes of `differ run`, and to start, stop, restart, pause and resume it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from differ.cli.command import Command, Entry, LazyGroup, command
from differ.cli.session import Session
from differ.cli.table import Cell, Column, Table
from differ.cli.terminal import count, duration

LINES = {
    "list": "Show the modules of every running 'differ run' of the project.",
    "start": "Start a module that is stopped or failed.",
    "stop": "Stop a module, and let running cycles roll back; its process goes on.",
    "restart": "Stop a module and start it again, whatever it was.",
    "pause": "Let a module begin nothing new; what is under way ends by itself.",
    "resume": "Let a paused module go on; turns that were missed are made up for by one.",
}
_ENTRIES = {
    name: Entry(module="modules", name="list_modules" if name == "list" else name, line=line)
    for name, line in LINES.items()
}


@click.group(cls=LazyGroup, sections={"Commands": _ENTRIES}, example="differ modules list")
def modules() -> None:
    """Show, start, stop and pause what 'differ run' runs: scheduler, relay, bootstrap and each sink.

    A sink is called sinks.NAME; an action on 'sinks' goes to all of them.
    """


def _modules(session: Session, action: str = "list", name: str | None = None) -> list[dict[str, Any]]:
    from differ.runtime import ask, control_folder

    return ask(control_folder(session.settings().storage.state), action, name)


@command(example="differ modules list", name="list", help=LINES["list"])
@click.pass_obj
def list_modules(session: Session) -> None:
    """See LINES."""
    found = _modules(session)
    if session.as_json:
        session.terminal.json({"modules": found})
    elif not found:
        session.terminal.note("nothing runs; 'differ run' starts the modules")
    else:
        _print(session, found)


def _action(action: str) -> Command:
    @command(example=f"differ modules {action} scheduler", name=action, help=LINES[action])
    @click.argument("name")
    @click.pass_obj
    def act(session: Session, name: str) -> int:
        found = _modules(session, action, name)
        if session.as_json:
            session.terminal.json({"modules": found})
        else:
            _print(session, found)
        return 3 if any(entry["state"] == "failed" for entry in found) else 0

    return act


def _print(session: Session, entries: list[dict[str, Any]]) -> None:
    columns = [Column(title=title) for title in ("module", "state", "process", "notes")]
    rows: list[list[Cell]] = [
        [entry["module"], entry["state"], str(entry["process"]), _notes(entry) or "-"] for entry in entries
    ]
    Table(session.terminal, columns).print(rows)


def _notes(entry: Mapping[str, Any]) -> list[str]:
    """What a person wants to know of a module at a glance."""
    status = entry["status"]
    notes = [entry["error"]] if entry["error"] else []
    if entry["restart_seconds"] is not None:
        notes.append(f"started again in {duration(entry['restart_seconds'])}")
    if "jobs" in status:
        notes.append(f"{count(status['jobs'])} scheduled, {count(status['running'])} running")
    if "url" in status:
        notes.append(f"{status['url']}, {count(status['waiting'])} waiting")
    if "upserts" in status:
        notes.append(
            f"{count(status['upserts'])} upserts, {count(status['deletes'])} deletes, SCN {count(status['scn'])}"
        )
        notes += [f"{count(status[name])} {name}" for name in ("unmapped", "refused") if status[name]]
    if status.get("doing") == "standing by":
        notes.append("starts, or stands by while another process writes")
    if status.get("bootstrapping"):
        notes.append("bootstrapping")
    if status.get("down"):
        notes.append(f"down: {status['down']}")
    return notes


start, stop, restart, pause, resume = (_action(action) for action in ("start", "stop", "restart", "pause", "resume"))
