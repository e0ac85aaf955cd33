"""A project with every kind of file that differ writes, what its users ask of it, and one bit of it flipped.

Prepared once; each flip is tried on a copy of the folder, which is opened anew.
"""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import differ
from differ.catalog.groups import Groups
from differ.catalog.pins import Pins
from differ.client import Client, Retries
from differ.client.checkpoints import FileCheckpoints
from differ.client.deadletters import DeadLetters
from differ.client.events import Events
from differ.errors import CorruptionError, DifferError
from differ.formats.checkpoint import StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.formats.ndjson import event_objects
from differ.project import Project
from differ.sinks.filebook import FileBook
from tests.client.mirror import Mirror, Store
from tests.cycle.world import DELTAS, World, apply, image
from tests.server.relay import Relay

Rows = list[dict[str, Any]]
GUARDED = {"deletes": "20%"}
LETTERS = Path(".differ/dead-letters/search.jsonl")
CHECKPOINT = Path("follower.json")
BOOK = Path("exports")
SOURCES = ("whole", "deltas", "shaky", "guarded", "left", "right")


def rows(count: int, value: str, **more: Any) -> Rows:
    return [{"id": number, "v": f"{value}{number}", "n": number * 7} | more for number in range(1, count + 1)]


BEFORE: dict[str, list[Rows]] = {
    "whole": [rows(30, "a"), rows(28, "a") + rows(31, "b")[29:], rows(20, "c")],
    "deltas": [rows(60, "a"), rows(58, "a")[3:] + rows(62, "b")[58:], rows(50, "a")[5:] + rows(64, "d")[60:]],
    "shaky": [rows(20, "a"), rows(18, "a")],
    "guarded": [rows(40, "a"), rows(5, "b")],
}
"""What each source held at its scans; that of `guarded` is held by its guards at last."""
SHOP = """CREATE TABLE left (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE right (id INTEGER PRIMARY KEY, v TEXT);
INSERT INTO left VALUES (1, 'a'), (2, 'b'), (4, 'c'); INSERT INTO right VALUES (1, 'x'), (4, 'y');"""
AFTER: dict[str, Rows] = {
    "whole": rows(22, "e"),
    "deltas": rows(52, "e"),
    "shaky": rows(18, "a") + rows(23, "z")[20:],
    "guarded": rows(6, "b"),
}


class Rich:
    """The prepared project in `folder`; `middle` is an SCN that a consumer stands at, with the rows that it has."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        for name in BEFORE:
            self.world.fed(name, (), snapshots=DELTAS if name == "deltas" else {})
        self.world.source("guarded", guards=GUARDED)
        self.world.feed("shaky").consistent = False
        self.world.sql(SHOP)
        self.world.table("left")
        self.world.table("right")
        self.world.settings["consistency_groups"] = {"both": {"sources": ["left", "right"]}}
        self.world.close()
        self.middle = 0
        self.rows_there: dict[str, dict[Any, Any]] = {}
        for turn in range(3):
            self.turn(turn)
        self._consumers()
        self.world.close()
        self.answers = dict(asked(folder))
        self.served = dict(served(folder))
        for name, (failure, _) in (self.answers | self.served).items():
            assert failure is None, (name, failure)

    def turn(self, number: int) -> None:
        """The scans of one turn of all sources that have one."""
        for name, turns in BEFORE.items():
            if number < len(turns):
                self.world.give(name, turns[number])
        if number == 1:
            self.world.sql("UPDATE left SET v = 'd' WHERE id = 4; DELETE FROM right WHERE id = 1")
        for unit in self.world.project.units():
            if number < len(BEFORE.get(unit[0], "12")):
                self.world.project.scan_unit(unit)
        if number == 1:
            self.middle = self.world.project.catalog.stream().head_scn
            self.rows_there = {name: self.world.state(name) for name in SOURCES}

    def _consumers(self) -> None:
        project, folder = self.world.project, self.world.folder
        stream = project.catalog.stream()
        chain = next(window.chain for window in project.catalog.windows() if window.last == self.middle)
        cursor = Cursor(stream=stream.stream_id, scn=self.middle, chain=chain[:32], floors=stream.floors)
        checkpoint = StreamCheckpoint(cursor=cursor)
        for number in range(5):
            project.consumers.put(f"c{number}", checkpoint=checkpoint, sources=list(SOURCES))
        share = Groups(project.consumers).join("team", member="m")
        Groups(project.consumers).save("team", "m", {7: share.partitions[7]}, {7: checkpoint})
        Pins(project.consumers).create(
            project.catalog, ["whole", "deltas"], consumer="x", partition=None, lease_seconds=1e9
        )
        letters = DeadLetters(folder / LETTERS)
        for batch in list(project.event_batches("whole", since=self.middle))[:3]:
            letters.add("search", Events(batch.slice(0, 1), cursor), ValueError("poison"), 5)
        FileCheckpoints(folder / CHECKPOINT).save(checkpoint)
        FileBook(folder / BOOK, "parquet").store(checkpoint)

    def files(self) -> dict[str, list[Path]]:
        """The files by kind, relative to the folder."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.world.folder.rglob("*")):
            place = path.relative_to(self.world.folder)
            kind = kind_of(place)
            if path.is_file() and path.stat().st_size and kind:
                found.setdefault(kind, []).append(place)
        return found


def kind_of(place: Path) -> str | None:
    """What a file is; None for what a user wrote or nobody reads."""
    if place.parts[0] in ("iterators", "shop.db") or place.suffix in (".lock", ".yaml", ".pyc"):
        return None
    stem = re.sub(r"[-.]?\d+", "", place.name)
    if place.parts[:2] in ((".differ", "segments"), (".differ", "absent")):
        return place.parts[1]
    return f"{stem} of deltas" if "deltas" in place.parts else stem


@dataclass(frozen=True)
class Flip:
    """One bit of a file."""

    place: Path
    byte: int
    bit: int

    def __call__(self, folder: Path) -> None:
        path = folder / self.place
        with path.open("r+b") as file:
            file.seek(self.byte)
            value = file.read(1)[0]
            file.seek(self.byte)
            file.write(bytes([value ^ (1 << self.bit)]))


def drawn(rich: Rich, chance: random.Random) -> Flip:
    """A kind of file by equal chance, the catalog by more; then any of its files, and any of its bits."""
    kinds = rich.files()
    kind = chance.choice([*sorted(kinds), "catalog.db", "catalog.db"])
    place = chance.choice(kinds[kind])
    size = (rich.world.folder / place).stat().st_size
    return Flip(place, chance.randrange(size), chance.randrange(8))


# -- what is asked ---------------------------------------------------------------------------------------------------

Answer = tuple[BaseException | None, Any]


def answer(ask: Callable[[], Any], *allowed: type[BaseException]) -> Answer:
    """What was answered, or the error; any error but those allowed goes through."""
    try:
        return None, ask()
    except allowed as error:
        return error, None


def asked(folder: Path) -> Iterator[tuple[str, Answer]]:
    """What users ask a project, from Python and the command line."""
    questions: dict[str, Callable[[Project], Any]] = {
        "status": lambda project: _steady(project.status()),
        "events": lambda project: [line for batch in project.event_batches() for line in event_objects(batch)],
        "held": lambda project: [line for batch in project.held_batches("guarded") for line in event_objects(batch)],
        "consumers": lambda project: [repr(entry) for entry in project.consumers.all()],
        "consumer": lambda project: repr(project.consumers.get("c3")),
        "pins": lambda project: [repr(pin) for pin in Pins(project.consumers).all()],
        "letters": lambda project: [
            (letter.to_json(), list(event_objects(letter.events().batch)))
            for letter in DeadLetters(folder / LETTERS).pending()
        ],
        "checkpoint": lambda project: FileCheckpoints(folder / CHECKPOINT).load(),
        "exports": lambda project: FileBook(folder / BOOK, "parquet").checkpoint(),
    }
    for name in SOURCES:
        questions[f"state of {name}"] = lambda project, name=name: state(project, name)
        questions[f"schemas of {name}"] = lambda project, name=name: [repr(e) for e in project.catalog.schemas(name)]
    questions["history"] = lambda project: [
        line for batch in project.event_batches("deltas", key="4") for line in event_objects(batch)
    ]
    questions["state of deltas before"] = lambda project: state(project, "deltas", 120)
    with differ.open(folder) as project:
        for name, question in questions.items():
            yield name, answer(lambda: question(project), CorruptionError)  # noqa: B023 - asked at once


def served(folder: Path) -> Iterator[tuple[str, Answer]]:
    """What a consumer is given that bootstraps, and one that goes on from its checkpoint."""
    with differ.open(folder) as project:
        try:
            relay = Relay(project).start()
        except CorruptionError as error:
            yield "relay", (error, None)
            return
        try:
            for name, checkpoints in (("bootstrap", None), ("resume", folder / CHECKPOINT)):
                yield name, answer(lambda: follow(relay, checkpoints), DifferError)  # noqa: B023 - asked at once
        finally:
            relay.stop(0)


def follow(relay: Relay, checkpoints: Path | None) -> tuple[Any, Any]:
    """All that a consumer is told up to the head: its rows, and its callbacks."""
    mirror = Mirror()
    store = None
    impatient = Retries(attempts=1, first_seconds=0.01, most_seconds=0.01, give_up_after=0.03)
    if checkpoints is not None:
        store = FileCheckpoints(checkpoints.with_suffix(".copy"))
        shutil.copy(checkpoints, store.path)
    try:
        Client(relay.url).run(
            mirror, name="follower", sources=list(SOURCES), checkpoints=store or Store(), register=False,
            until_head=True, retries=impatient,
        )  # fmt: skip
    finally:
        if store is not None:
            store.path.unlink()
    events = [call for call in mirror.calls if call[0] == "events"]
    return {key: value[0] for key, value in mirror.rows.items()}, events


def state(project: Project, source: str, as_of: int | None = None) -> dict[Any, Any]:
    """The rows of a source by key."""
    snapshot = project.snapshot(source, as_of)
    found = [image(row, snapshot.schema) or {} for batch in snapshot.to_batches() for row in batch.to_pylist()]
    return {(row["id"],): row for row in found}


def fold(project: Project, source: str, since: int, start: Mapping[Any, Any]) -> dict[Any, Any]:
    """The rows that a consumer has who had `start` at an SCN and applies what it is given since."""
    have = dict(start)
    for batch in project.event_batches(source, since=since):
        apply(have, batch)
    return have


def _steady(status: Mapping[str, Any]) -> Any:
    """Without what the clock says. Damage of a consumer is told in place of the consumers."""
    if status["consumers_error"]:
        raise CorruptionError(status["consumers_error"])
    body = json.loads(json.dumps(status, default=str))
    return [body["stream"], body["head_scn"], body["sources"], [sorted(one) for one in body["consumers"]]]
