"""A whole project beside a simple model of it: what each source holds, which events there were, who stands where.

The model knows sets and dicts only. What the catalog alone can tell (whether a killed process came to its commit) is
asked of it, and then everything else must agree.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from differ.cycle.procedure import RunOptions
from differ.formats.checkpoint import StreamCheckpoint
from differ.model import OPS
from tests.cycle.world import DELTAS, State, World, apply
from tests.faults.crashing import Crasher
from tests.relay.timeline import cursor

Row = dict[str, Any]
Rows = dict[int, Row]
Op = tuple[str, int]

PLUGIN = '''
import json, pathlib
from differ.iterators import iterator


@iterator(key="id")
class told:
    """Reads SOURCE.json of the project, in two batches; fails between them where that says so."""

    key = ("id",)

    def __init__(self, ctx):
        body = json.loads(pathlib.Path(ctx.project, f"{ctx.source}.json").read_text())
        self.rows, self.fails, self.consistent = body["rows"], body["fails"], body["consistent"]

    def read(self, split):
        half = len(self.rows) // 2
        yield self.rows[:half]
        if self.fails:
            raise OSError("the source went away")
        yield self.rows[half:]
'''
DELETES_MAX = 4
"""More deletes than this are held."""
SOURCES: Mapping[str, dict[str, Any]] = {
    "whole": {"snapshots": {"keep": 2}},
    "moving": {"snapshots": DELTAS | {"keep": 1}},
    "quiet": {"snapshots": {"small_base": 0, "delta_share": "20%", "keep": 1}, "baseline": "snapshot-only"},
}
"""moving: its reads are not consistent. quiet: its first cycle makes no events."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a scan must come to: status held or not, the state behind it, and the (op, id) of its events."""

    held: bool
    state: Rows
    waiting: frozenset[int]
    columns: tuple[str, ...]
    ops: frozenset[Op]
    silent: bool
    """Whether a new base begins, without events."""


@dataclass
class Source:
    """A source of the model. waiting: keys that were absent once. rebase: a new base was asked for, not made yet."""

    name: str
    consistent: bool
    silent_first: bool
    state: Rows = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    waiting: frozenset[int] = frozenset()
    held: Outcome | None = None
    born: bool = False
    rebase: bool = False

    def predict(self, rows: Sequence[Row]) -> Outcome:
        """What a scan that reads these rows must come to; changes nothing."""
        columns = tuple(rows[0]) if rows else self.columns or ("id",)
        silent = self.rebase or (not self.born and self.silent_first)
        read = {row["id"]: row for row in rows}
        absent = frozenset() if self.rebase else self.state.keys() - read.keys()
        deleted = absent if self.consistent else absent & self.waiting
        waiting = absent - deleted
        state = {key: shown(row, columns) for key, row in {k: self.state[k] for k in waiting}.items()} | read
        ops = {("delete", key) for key in deleted}
        ops |= {("insert", key) for key in read.keys() - self.state.keys()}
        ops |= {
            ("update", key)
            for key in read.keys() & self.state.keys()
            if shown(self.state[key], columns) != shown(read[key], columns)
        }
        return Outcome(
            held=self.born and not self.rebase and len(deleted) > DELETES_MAX,
            state=state,
            waiting=frozenset(waiting),
            columns=columns,
            ops=frozenset() if silent else frozenset(ops),
            silent=silent,
        )

    def take(self, outcome: Outcome) -> None:
        """An outcome was committed."""
        self.state, self.waiting, self.columns = outcome.state, outcome.waiting, outcome.columns
        self.born, self.held, self.rebase = True, None, False


class Whole:
    """The project, its model, and an auditor: a consumer that reads every event once, just after it was committed."""

    def __init__(self, folder: Path, crasher: Crasher, retention: Mapping[str, Any]) -> None:
        self.world = World(folder, relay={"retention": dict(retention)})
        self.world.plugin("told", PLUGIN)
        self.crasher = crasher
        self.sources: dict[str, Source] = {}
        self.fold: dict[str, State] = {}
        self.log: dict[int, tuple[str, str, int]] = {}
        """Every event there ever was: SCN -> (source, op, id)."""
        self.head = 0
        self.floors_raised: Callable[[str], None] = lambda source: None
        for name, settings in SOURCES.items():
            guards = {"deletes": DELETES_MAX, "updates": "100%", "rows": {"min": 0}}
            self.world.source(name, iterator="told", options={}, guards=guards, **settings)
            self.sources[name] = Source(name, name != "moving", "baseline" in settings)
            self.fold[name] = {}
        self._move_auditor()

    # -- what happens ----------------------------------------------------------------------------------------------

    def scan(self, name: str, rows: Sequence[Row]) -> None:
        """A scan that reads these rows."""
        outcome, born = self._give(name, rows), self.sources[name].born
        result = self.world.scan(name)
        changes = outcome.ops or outcome.silent or result.schema_changes or not born
        assert result.status == ("held" if outcome.held else "committed" if changes else "unchanged"), result
        self._take(name, outcome)

    def rebaseline(self, name: str, rows: Sequence[Row]) -> None:
        """A new base of these rows."""
        self.sources[name].rebase = True
        outcome = self._give(name, rows)
        result = self.world.project.rebaseline(name)
        assert result.status == "committed", result
        self._take(name, outcome)

    def fail(self, name: str, rows: Sequence[Row], *, breaks_off: bool = True) -> None:
        """A scan that breaks off, or gives a key twice: nothing may change."""
        self._give(name, rows, fails=breaks_off)
        result = self.world.scan(name)
        assert result.status == "failed", result
        self.audit(name, frozenset())

    def dry_run(self, name: str, rows: Sequence[Row]) -> None:
        """A dry run, which must change nothing."""
        self._give(name, rows)
        result = self.world.project.scan(name, RunOptions(dry_run=True))
        assert result.status == "dry-run", result
        self.audit(name, frozenset())

    def end_held(self, name: str, action: str) -> None:
        """Approve or reject what is held."""
        source = self.sources[name]
        assert source.held is not None
        getattr(self.world.project, action)(name)
        self._held_ended(source, action)

    def compact(self, name: str) -> None:
        """A new base of the same rows."""
        self.world.project.compact(name)
        self.audit(name, frozenset())

    def gc(self) -> None:
        """Sweep what nothing refers to: a second sweep finds nothing."""
        self.world.project.gc()
        assert self.world.project.gc() == 0

    def check(self) -> None:
        """All that is at rest is whole, and all that is not referred to is gone after a sweep."""
        assert self.world.project.check(read_data=True) == []
        for name in self.sources:
            self.agrees(name)

    def kill(self, action: str, name: str, rows: Sequence[Row], point: int) -> bool:
        """Do something in a process that is killed at a numbered point; what came of it is whole. False: it had fewer
        points, and ended in good order."""
        source, catalog = self.sources[name], self.world.project.catalog
        begun = source.rebase
        if action == "rebaseline":
            source.rebase = True
        outcome = self._give(name, rows)
        held = source.held
        entry = catalog.source(name)
        cycles = entry.cycles if entry else 0
        command = action if action == "gc" else f"{action} {name}"
        told = self.crasher.run(self.world.folder, None, command, kill_at=point)
        after = catalog.source(name)
        if action in ("scan", "rebaseline"):
            newest = next((c for c in catalog.cycles(name, limit=1) if c.cycle > cycles), None)
            if newest is not None and newest.status in ("committed", "unchanged", "held"):
                assert (newest.status == "held") == outcome.held
                self._take(name, outcome)
            else:
                assert told["killed"], "a process that was not killed came to no end"
                source.rebase = after.rebaseline if after is not None else False
                assert source.rebase in (begun, action == "rebaseline")
                self.audit(name, frozenset())
        elif action in ("approve", "reject"):
            assert held is not None
            if catalog.held(name) is None:
                self._held_ended(source, action)
            else:
                assert told["killed"]
                self.audit(name, frozenset())
        else:
            self.audit(name, frozenset())
        return bool(told["killed"])

    # -- what must hold --------------------------------------------------------------------------------------------

    def audit(self, name: str, ops: frozenset[Op], *, evolved: bool = False) -> None:
        """The events since the last audit are these, on SCNs that follow the last one, and give the state.

        evolved: the schema changed, so that rows that look the same may be updated, too.
        """
        head = self.world.project.catalog.stream().head_scn
        scns, found = [], set()
        for batch in self.world.project.event_batches(since=self.head, across_floors=True):
            assert batch.source == name
            apply(self.fold[name], batch)
            for event in batch.events.to_pylist():
                scn = batch.first_scn + event["ordinal"]
                op, key = OPS[event["op"]], event["key"]["id"]
                assert (op, key) not in found, "a key twice in one window"
                assert scn not in self.log, f"SCN {scn} was used before"
                scns.append(scn)
                found.add((op, key))
                self.log[scn] = (name, op, key)
        assert scns == list(range(self.head + 1, head + 1))
        if evolved:
            assert ops <= found
            assert {op for op, _ in found - ops} <= {"update"}
        else:
            assert found == ops
        self.head = head
        self._move_auditor()
        self.agrees(name)

    def agrees(self, name: str) -> None:
        """The snapshot, the fold of the events and the model are one."""
        source = self.sources[name]
        if not source.born:
            assert not self.fold[name]
            return
        names = self.world.project.snapshot(name).schema.names
        assert set(names) == set(source.columns)
        expected = {key: shown(row, names) for key, row in source.state.items()}
        assert {key: row for (key,), row in self.world.state(name).items()} == expected
        assert {key: shown(row, names) for (key,), row in self.fold[name].items()} == expected

    def expected(self, name: str) -> Rows:
        """The rows that whoever follows a source holds in the end."""
        source = self.sources[name]
        return {key: shown(row, source.columns) for key, row in source.state.items()}

    # -- how -------------------------------------------------------------------------------------------------------

    def _give(self, name: str, rows: Sequence[Row], *, fails: bool = False) -> Outcome:
        source = self.sources[name]
        body = {"rows": list(rows), "fails": fails, "consistent": source.consistent}
        (self.world.folder / f"{name}.json").write_text(json.dumps(body))
        return source.predict(rows)

    def _take(self, name: str, outcome: Outcome) -> None:
        source = self.sources[name]
        if outcome.held:
            source.held = outcome
            self.audit(name, frozenset())
            return
        evolved = source.born and set(outcome.columns) != set(source.columns)
        source.take(outcome)
        if outcome.silent:
            self.fold[name] = {(key,): dict(row) for key, row in outcome.state.items()}
            self.floors_raised(name)
        self.audit(name, outcome.ops, evolved=evolved)

    def _held_ended(self, source: Source, action: str) -> None:
        held, source.held = source.held, None
        assert held is not None
        if action == "reject":
            self.audit(source.name, frozenset())
            return
        evolved = set(held.columns) != set(source.columns)
        source.take(held)
        self.audit(source.name, held.ops, evolved=evolved)

    def _move_auditor(self) -> None:
        catalog = self.world.project.catalog
        self.world.project.consumers.put("audit", checkpoint=StreamCheckpoint(cursor=cursor(catalog, self.head)))


def shown(row: Mapping[str, Any], columns: Sequence[str]) -> Row:
    """A row in these columns; one that it has not is null."""
    return {name: row.get(name) for name in columns}
