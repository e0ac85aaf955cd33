"""A project in a folder, fed from memory or from SQLite, and an independent reading of what it committed."""

import json
import math
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

import differ
from differ.cycle.procedure import RunOptions
from differ.formats.batch import EventBatch
from differ.model import OPS, CycleResult
from differ.project import Project
from differ.records.types import Schema
from tests.canary import with_canary
from tests.cycle.feed import FEEDS, PLUGIN, Feed

Row = Mapping[str, Any]
State = dict[tuple[Any, ...], dict[str, Any]]
OPEN = {"deletes": "100%", "updates": "100%", "rows": {"min": 0}}
"""Guards that hold nothing."""
DELTAS = {"small_base": 0, "delta_share": "100%"}
"""A cycle after the first is a delta, until the deltas are larger than the base."""


class World:
    """A project in `folder` whose settings a test may edit; `project` is opened anew after each edit."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {"version": 1, "sources": {}, **settings}
        self._project: Project | None = None
        (folder / "iterators").mkdir(parents=True, exist_ok=True)
        self.plugin("feed", PLUGIN.format(types={}))

    def plugin(self, name: str, text: str) -> None:
        """Write a file of the project's `iterators/` folder."""
        (self.folder / "iterators" / f"{name}.py").write_text(text)

    def fed(self, source: str, rows: Iterable[Row] = (), *, key: str | tuple[str, ...] = "id", **settings: Any) -> Feed:
        """Add a source that reads a feed of its own; returns the feed."""
        name = f"{source}-{uuid.uuid4()}"
        FEEDS[name] = Feed([[list(rows)]], key=(key,) if isinstance(key, str) else key)
        self.source(source, iterator="feed", options={"feed": name}, **settings)
        return FEEDS[name]

    def feed(self, source: str) -> Feed:
        """The feed of a source."""
        return FEEDS[self.settings["sources"][source]["options"]["feed"]]

    def give(self, source: str, rows: Iterable[Row] | pa.Table | pa.RecordBatch) -> None:
        """What the next scans of a source read: one batch."""
        self.feed(source).splits = [[rows if isinstance(rows, pa.Table | pa.RecordBatch) else list(rows)]]

    def table(self, source: str, table: str | None = None, **settings: Any) -> None:
        """Add a source that reads a table of the project's SQLite shop."""
        options = {"url": f"sqlite:///{self.shop}", "table": table or source}
        self.source(source, iterator="sql", options=options, **settings)

    def source(self, source: str, **settings: Any) -> None:
        """Add a source, or change its settings."""
        known = self.settings["sources"].setdefault(source, {"guards": dict(OPEN)})
        known.update(settings)
        self.close()

    def drop(self, source: str, setting: str) -> None:
        """Take a setting of a source away."""
        del self.settings["sources"][source][setting]
        self.close()

    @property
    def shop(self) -> Path:
        return self.folder / "shop.db"

    def sql(self, script: str) -> None:
        """Run SQL on the shop."""
        connection = sqlite3.connect(self.shop)
        connection.executescript(script)
        connection.close()

    @property
    def project(self) -> Project:
        """The open project."""
        if self._project is None:
            (self.folder / "scheduler.yaml").write_text(yaml.safe_dump(with_canary(self.settings)))
            self._project = differ.open(self.folder)
        return self._project

    def close(self) -> None:
        """Close the project, so that the next use reads scheduler.yaml anew."""
        if self._project is not None:
            self._project.close()
            self._project = None

    def scan(self, source: str, rows: Iterable[Row] | pa.Table | None = None, **options: Any) -> CycleResult:
        """Run a cycle, whatever its outcome."""
        if rows is not None:
            self.give(source, rows)
        return self.project.scan(source, RunOptions(**options) if options else None)

    def commit(self, source: str, rows: Iterable[Row] | pa.Table | None = None) -> CycleResult:
        """Run a cycle that must be committed or find nothing."""
        result = self.scan(source, rows)
        assert result.status in ("committed", "unchanged"), result
        return result

    # -- reading back -----------------------------------------------------------------------------------------

    def state(self, source: str, as_of: int | None = None) -> State:
        """The rows of a snapshot by key."""
        snapshot = self.project.snapshot(source, as_of)
        rows: State = {}
        for batch in snapshot.to_batches():
            for row in batch.to_pylist():
                shown = image(row, snapshot.schema) or {}
                key = tuple(shown[name] for name in snapshot.schema.key)
                assert key not in rows, f"{key} twice in the snapshot"
                rows[key] = shown
        assert len(rows) == snapshot.rows
        return rows

    def fold(self, source: str, until: int | None = None) -> State:
        """The state that a consumer has who applied every event up to an SCN."""
        state: State = {}
        for batch in self.project.event_batches(source, until=until):
            apply(state, batch)
        return state

    def ops(self, source: str | None = None, since: int = 0) -> list[tuple[str, Any]]:
        """(op, key) of the events after an SCN; a key of one column is given as its value."""
        found: list[tuple[str, Any]] = []
        for event in self.project.events(source, since=since):
            key = tuple(event.key.values())
            found.append((event.op, key[0] if len(key) == 1 else key))
        return found

    def files(self) -> set[str]:
        """All files of the snapshots, segments, absent keys and checksums, but no lock and no catalog."""
        roots = [
            self.folder / "snapshots",
            *(self.folder / ".differ" / name for name in ("segments", "absent", "sums", "spill")),
        ]
        return {
            path.relative_to(self.folder).as_posix() for root in roots for path in root.rglob("*") if path.is_file()
        }

    def verify(self, source: str) -> None:
        """Check what must always hold: SCNs without gaps, and the fold of the events is the state."""
        scns = [event.scn for event in self.project.events()]
        assert scns == list(range(1, self.project.catalog.stream().head_scn + 1))
        entry = self.project.catalog.source(source)
        if entry is not None and entry.current is not None:
            names = self.project.snapshot(source).schema.names
            fold = {key: {name: row.get(name) for name in names} for key, row in self.fold(source).items()}
            assert fold == self.state(source)
        else:
            assert self.fold(source) == {}


def apply(state: State, batch: EventBatch) -> None:
    """Apply events to a state, insisting that each one fits it."""
    for event in batch.events.to_pylist():
        op = OPS[event["op"]]
        before, after = image(event["before"], batch.before_schema), image(event["after"], batch.schema)
        key = tuple((image(event["key"], batch.key_schema) or {}).values())
        if op == "insert":
            assert key not in state, f"insert of {key}, which is there"
            assert before is None
        else:
            assert key in state, f"{op} of {key}, which is not there"
            assert before is not None
            assert before == {name: state[key].get(name) for name in before}, f"before image of {key}"
        if op == "update":
            assert before is not None
            assert after is not None
            moved = {name for name, value in after.items() if name in before and before[name] != value}
            # A column that is there again counts in every row: an older event may have given it a value.
            moved |= {n for n, v in after.items() if n not in before and (v is not None or n in event["changed"])}
            assert set(event["changed"]) == moved, f"changed of {key}"
            assert moved, f"an update of {key} that changes nothing"
        if after is None:
            assert op == "delete"
            del state[key]
        else:
            state[key] = after


def image(struct: Mapping[str, Any] | None, schema: Schema) -> dict[str, Any] | None:
    """A row as comparable values; a decimal without a declared scale is stored as text."""
    if struct is None:
        return None
    types = schema.types
    return {
        name: Decimal(value) if types[name].kind == "decimal" and isinstance(value, str) else plain(value)
        for name, value in struct.items()
    }


def plain(value: Any) -> Any:
    """A value that equals another exactly when differ says so: one NaN, one zero."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, default=str)
    return value


def numbered(*values: Any, first: int = 1, column: str = "v") -> list[dict[str, Any]]:
    """Rows {id: first.., column: value}."""
    return [{"id": first + i, column: value} for i, value in enumerate(values)]
