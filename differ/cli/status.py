"""`differ status` and `differ sources`: where every source stands, and how it is configured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from differ.cli.command import command
from differ.cli.consumers import print_consumers
from differ.cli.results import end_commands
from differ.cli.session import Session
from differ.cli.table import STATUS_STYLES, Cell, Column, Table
from differ.cli.terminal import Terminal, count, duration

if TYPE_CHECKING:
    from differ.config import ScheduleSettings, Settings, SourceSettings


@command(example="differ status")
@click.pass_obj
def status(session: Session) -> None:
    """Show where every source and consumer stands: rows, head SCN, last cycle, what is held and how to end it."""
    with session.open() as project:
        body = project.status()
        if session.as_json:
            session.terminal.json(body)
            return
        _print_status(session.terminal, body, project.settings.sinks)


def _print_status(terminal: Terminal, body: Mapping[str, Any], sinks: Collection[str]) -> None:
    sources = body["sources"]
    terminal.line(f"head SCN {count(body['head_scn'])}  stream {body['stream']}")
    if not sources:
        terminal.line("no sources: add one to scheduler.yaml")
        return
    terminal.line()
    columns = [
        Column(title="source"),
        Column(title="rows", right=True),
        Column(title="cycle", right=True),
        Column(title="status", style=lambda text: STATUS_STYLES.get(text, {})),
        Column(title="seen"),
        Column(title="notes"),
    ]
    Table(terminal, columns).print([_status_row(source) for source in sources])
    for source in sources:
        if source["held"]:
            _print_held(terminal, source)
        elif source["status"] == "failed":
            terminal.line()
            terminal.labelled(f"{source['source']} failed: ", source["last_error"] or "its process ended")
    if body["consumers_error"]:
        terminal.line()
        terminal.labelled("consumers: ", body["consumers_error"])
    if body["consumers"]:
        terminal.line()
        print_consumers(terminal, body["consumers"], sinks)


def _status_row(source: Mapping[str, Any]) -> Sequence[Cell]:
    return [
        source["source"],
        count(source["rows"]),
        count(source["cycle"]),
        source["status"],
        _age(source["seen_at"]),
        _notes(source),
    ]


def _notes(source: Mapping[str, Any]) -> list[str]:
    notes = []
    if not source["configured"]:
        notes.append("not in scheduler.yaml")
    if source["paused"]:
        notes.append("paused")
    if source["group"]:
        notes.append(f"group {source['group']}")
    if source["waiting_deletes"]:
        notes.append(f"{count(source['waiting_deletes'])} deletes wait to be confirmed")
    if source["floor_scn"]:
        notes.append(f"events begin after SCN {source['floor_scn']}")
    return notes


def _print_held(terminal: Terminal, source: Mapping[str, Any]) -> None:
    held = source["held"]
    terminal.line()
    terminal.line(f"{source['source']} is held: cycle {held['cycle']}")
    terminal.labelled("  why       ", held["reason"] or "a guard holds it")
    terminal.line(
        f"  it has    {count(held['rows'])} rows  +{count(held['inserts'])} ~{count(held['updates'])} "
        f"-{count(held['deletes'])}"
    )
    for change in held["schema_changes"] or ():
        terminal.labelled("  schema    ", change)
    for verb, line in end_commands(source["source"], held["cycle"], held["hash"]).items():
        terminal.line(f"  {verb:<9} {line}")


def _age(seen_at: str | None) -> str:
    if seen_at is None:
        return "never"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(seen_at)).total_seconds()
    return f"{duration(max(0.0, seconds))} ago"


@command(example="differ sources")
@click.pass_obj
def sources(session: Session) -> None:
    """Show how the sources are configured: iterator, key, schedule, guards. Reads scheduler.yaml alone."""
    settings = session.settings()
    found = [_configured(settings, source) for source in settings.sources.values()]
    if session.as_json:
        session.terminal.json({"sources": found})
        return
    columns = [Column(title=title) for title in ("source", "iterator", "key", "schedule", "notes")]
    rows: list[Sequence[Cell]] = [
        [
            body["source"],
            body["iterator"],
            ", ".join(body["key"]) or "(its own)",
            body["schedule"] or "by hand",
            _remarks(body),
        ]
        for body in found
    ]
    if rows:
        Table(session.terminal, columns).print(rows)
    else:
        session.terminal.note("no sources: add one to scheduler.yaml")


def _configured(settings: Settings, source: SourceSettings) -> dict[str, Any]:
    group = settings.group_of(source.name)
    schedule = (group.schedule if group else None) or source.schedule
    columns = source.columns
    return {
        "source": source.name,
        "iterator": source.iterator,
        "key": list(source.key),
        "group": group.name if group else None,
        "schedule": _schedule_text(schedule) if schedule else None,
        "timeout_seconds": source.timeout_seconds,
        "baseline": source.baseline,
        "on_schema_change": source.on_schema_change,
        "guards": {
            "deletes": str(source.guards.deletes),
            "updates": str(source.guards.updates),
            "rows": {
                "min": source.guards.rows.min,
                "max": source.guards.rows.max,
                "change": str(source.guards.rows.change) if source.guards.rows.change else None,
            },
            "confirm_deletes": source.guards.confirm_deletes,
        },
        "columns": {
            "exclude": list(columns.exclude),
            "ignore": list(columns.ignore),
            "tolerance": sorted(columns.tolerance),
            "mask": sorted(columns.mask),
        },
    }


def _schedule_text(schedule: ScheduleSettings) -> str:
    if schedule.cron is not None:
        return f"{schedule.cron} {schedule.timezone}"
    jitter = f" +{schedule.jitter_seconds:g}s" if schedule.jitter_seconds else ""
    return f"every {schedule.every_seconds:g}s{jitter}"


def _remarks(body: Mapping[str, Any]) -> list[str]:
    remarks = [f"group {body['group']}"] if body["group"] else []
    remarks += [f"{rule} {', '.join(names)}" for rule, names in body["columns"].items() if names]
    if body["baseline"] != "events":
        remarks.append(f"baseline {body['baseline']}")
    return remarks
