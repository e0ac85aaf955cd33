"""`differ dead-letters`: events that a consumer or sink could not process, which wait for a person.

A sink's letters are a file below `<state>/dead-letters`, called like the sink; a consumer of your own keeps them where
it was told to, and is named by that file. Invariant: a letter leaves the list only when it was replayed with success,
was superseded, or was dropped by its number or by `--all`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from differ.cli.command import Entry, LazyGroup, command
from differ.cli.session import Session
from differ.cli.table import Column, Table
from differ.cli.terminal import duration
from differ.errors import UsageError

if TYPE_CHECKING:
    from differ.client import DeadLetters

LINES = {
    "list": "Show the events that wait, of one sink or of all.",
    "show": "Show one of them whole.",
    "replay": "Give events to their sink again.",
    "drop": "Let events go without processing them.",
}
_ENTRIES = {
    name: Entry(module="deadletters", name="list_letters" if name == "list" else name, line=line)
    for name, line in LINES.items()
}
_ALL = click.option("--all", "everything", is_flag=True, help="All that wait.")


def complete_sink(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of sinks that begin so."""
    from differ.cli.parameters import project_names

    return [name for name in project_names(ctx, "sinks") if name.startswith(incomplete)]


_WHERE = click.argument("where", metavar="SINK|FILE", shell_complete=complete_sink)


@click.group(cls=LazyGroup, sections={"Commands": _ENTRIES}, example="differ dead-letters list")
def dead_letters() -> None:
    """Show, replay and drop events that a sink or consumer could not process."""


@command(example="differ dead-letters list search", name="list", help=LINES["list"])
@click.argument("where", metavar="[SINK|FILE]", required=False, shell_complete=complete_sink)
@click.pass_obj
def list_letters(session: Session, where: str | None) -> None:
    """See LINES."""
    boxes = _boxes(session, where)
    found = [(name, letter) for name, box in boxes.items() for letter in box.pending()]
    if session.as_json:
        session.terminal.json({"dead_letters": [{"sink": name} | letter.to_json() for name, letter in found]})
        return
    if not found:
        session.terminal.note("no events wait")
        return
    columns = [Column(title="sink"), Column(title="number", right=True), Column(title="SCN", right=True)]
    columns += [Column(title=title) for title in ("source", "key", "put aside", "error")]
    rows = [
        [name, str(letter.number), str(letter.scn), letter.source, _key(letter.key), _age(letter.at), letter.error]
        for name, letter in found
    ]
    Table(session.terminal, columns).print(rows)


@command(example="differ dead-letters show search 3", help=LINES["show"])
@_WHERE
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def show(session: Session, where: str, number: int) -> None:
    """See LINES."""
    from differ.client.deadletters import chosen

    (box,) = _boxes(session, where).values()
    (letter,) = chosen(box.pending(), [number], box.path)
    session.terminal.json(letter.to_json(), indent=None if session.as_json else 2)


@command(example="differ dead-letters replay search --all", help=LINES["replay"])
@click.argument("sink", shell_complete=complete_sink)
@click.argument("numbers", nargs=-1, type=click.IntRange(min=1))
@_ALL
@click.pass_obj
def replay(session: Session, sink: str, numbers: tuple[int, ...], everything: bool) -> int:
    """Give events to their sink again, oldest first; stop the sink before ('differ modules stop sinks.NAME').

    An event whose key was written again since is superseded, and settled without being written. One that fails again
    still waits. Those of a consumer of your own are replayed from Python: DeadLetters.replay.
    """
    from differ.sinks.replay import replay_letters

    ((sink, box),) = _boxes(session, sink).items()
    done = replay_letters(session.settings(), sink, box, _numbers("replay", numbers, everything))
    if session.as_json:
        session.terminal.json(
            {
                "sink": sink,
                "replayed": list(done.done),
                "superseded": list(done.superseded),
                "failed": dict(done.failed),
            }
        )
    else:
        session.terminal.line(
            f"{sink}: {len(done.done)} replayed, {len(done.superseded)} superseded by later events, "
            f"{len(done.failed)} failed again"
        )
        for number, error in done.failed.items():
            session.terminal.labelled(f"  {number}: ", error)
    return 7 if done.failed else 0


@command(example="differ dead-letters drop search 3 4", help=LINES["drop"])
@_WHERE
@click.argument("numbers", nargs=-1, type=click.IntRange(min=1))
@_ALL
@click.pass_obj
def drop(session: Session, where: str, numbers: tuple[int, ...], everything: bool) -> None:
    """Let events go without processing them; the destination stays without what they say."""
    ((name, box),) = _boxes(session, where).items()
    dropped = box.drop(_numbers("drop", numbers, everything))
    if session.as_json:
        session.terminal.json({"sink": name, "dropped": [letter.number for letter in dropped]})
    else:
        session.terminal.line(f"{name}: {len(dropped)} dropped")


def _numbers(verb: str, numbers: tuple[int, ...], everything: bool) -> tuple[int, ...] | None:
    if bool(numbers) == everything:
        raise UsageError(f"{verb} dead letters: which ones?", hint="give their numbers, or --all")
    return None if everything else numbers


def _boxes(session: Session, where: str | None) -> Mapping[str, DeadLetters]:
    """Files of dead letters by the name they are shown under: that of a sink, a file, or those of all sinks."""
    from differ.client.deadletters import DeadLetters
    from differ.config.problems import suggestion

    if where is not None and (where.endswith(".jsonl") or "/" in where):
        path = Path(where)
        if not path.is_file():
            raise UsageError(f"read dead letters {path}: there is no such file", hint="see where the consumer keeps it")
        return {path.stem: DeadLetters(path)}
    settings = session.settings()
    folder = settings.storage.state / "dead-letters"
    names = {*settings.sinks, *(found.stem for found in folder.glob("*.jsonl"))}
    if where is not None and where not in names:
        where = where.removeprefix("sink.").removeprefix("sinks.")  # As consumers and modules call it.
    if where is not None and where not in names:
        raise UsageError(f"unknown sink {where!r}", hint=suggestion(where, names))
    return {name: DeadLetters(folder / f"{name}.jsonl") for name in sorted(names if where is None else [where])}


def _age(at: str) -> str:
    return f"{duration(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()))} ago"


def _key(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in key.items())
