"""`differ modules`: what runs in the processes of `differ run`, and to start, stop, pause and resume it."""

from __future__ import annotations

from typing import Any

import click

from differ.cli.command import Command, Entry, LazyGroup, command
from differ.cli.session import Session
from differ.cli.table import Column, Table

LINES = {
    "list": "Show the modules of every running 'differ run' of the project.",
    "start": "Start a module that is stopped or failed.",
    "stop": "Stop a module, and let running cycles roll back; its process goes on.",
    "pause": "Let a module begin nothing new; what is under way ends by itself.",
    "resume": "Let a paused module go on; turns that were missed are made up for by one.",
}
_ENTRIES = {
    name: Entry(module="modules", name="list_modules" if name == "list" else name, line=line)
    for name, line in LINES.items()
}


@click.group(cls=LazyGroup, sections={"Commands": _ENTRIES}, example="differ modules list")
def modules() -> None:
    """Show, start, stop and pause what 'differ run' runs: this version has the scheduler."""


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
    columns = [Column(title=title) for title in ("module", "state", "process", "error")]
    rows = [[entry["module"], entry["state"], str(entry["process"]), entry["error"] or "-"] for entry in entries]
    Table(session.terminal, columns).print(rows)


start, stop, pause, resume = (_action(action) for action in ("start", "stop", "pause", "resume"))
