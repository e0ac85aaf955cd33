"""One attempt of one source: what `run_cycles` does for it between begin and commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from differ.catalog import CycleEntry, SourceEntry
from differ.catalog.catalog import now
from differ.catalog.commit import Proposal
from differ.catalog.entries import Staged, StagedSegment, to_text
from differ.config import SourceSettings
from differ.cycle.place import Place
from differ.diff.absence import missed_before, write_absent
from differ.diff.changes import ChangeWriter, restated
from differ.diff.compare import Comparison
from differ.diff.encoding import Encoding, refingerprint
from differ.diff.guards import Counts, reasons_to_hold
from differ.diff.schema_changes import schema_changes, settle
from differ.errors import SchemaDriftError
from differ.executors import ReaderThread
from differ.iterators.contract import Context, IteratorSpec
from differ.iterators.scan import Scan, column_rules
from differ.model import CycleResult, Position, PreviousCommit
from differ.records.types import Schema
from differ.records.values import python_column
from differ.snapshots.index import Index, Positions
from differ.snapshots.snapshot import Snapshot
from differ.storage import StoredFile, ensure_folder, remove_file, remove_tree, seam

LOOKUP_KEYS = 1_000


class Attempt:
    """The cycle of one source while it is being made. Memory budget: a third of `executor.memory` for each buffer."""

    def __init__(
        self, place: Place, settings: SourceSettings, spec: IteratorSpec, entry: SourceEntry, cycle: int
    ) -> None:
        self.place, self.settings, self.spec, self.entry, self.cycle = place, settings, spec, entry, cycle
        self.source = settings.name
        self.seconds: dict[str, float] = {}
        self.rows = 0
        self._started = time.perf_counter()
        self._places = place.places(self.source, cycle)
        self._base: CycleEntry | None = None
        self._previous: Snapshot | None = None
        if entry.current is not None:
            self._base = place.catalog.cycle(self.source, entry.current)
            self._previous = Snapshot(place.snapshots, place.manifest(self._base))
        self.seen_at = self.detected_at = now()
        self.ctx = self._context()
        self.scan = self._scan()
        self.staged: Staged | None = None
        self.reasons: list[str] = []
        self._comparison: Comparison | None = None
        self._deleted: Positions = np.zeros(0, dtype=np.int64)
        self._waiting: Positions = np.zeros(0, dtype=np.int64)

    # -- scan and compare ------------------------------------------------------------------------------------------

    def read(self, thread: ReaderThread, progress: Callable[[int], None]) -> None:
        """Scan, compare and stage. Raises whatever goes wrong; nothing is visible then."""
        ensure_folder(self._places.spill)
        with self._timed("scan"):
            thread.call(self.scan.open)
            stream = thread.stream(self.scan.batches)
            first = next(stream, None)
        encoding = self._encoding()
        index, refreshed = self._index(encoding)
        comparison = Comparison(self.source, index, encoding, matching=self._same_key(encoding.schema))
        self._comparison = comparison
        writer = ChangeWriter(
            self.source,
            self.cycle,
            self._places,
            encoding,
            previous=self._old,
            index=index,
            rebase=refreshed or self._base_is_due(),
            emit=not self._silent,
            budget_bytes=self.place.settings.executor.memory_bytes // 8,
        )
        with writer:
            self._take(writer, comparison, encoding, first)
            progress(comparison.rows)
            while (batch := self._next(stream)) is not None:
                self._take(writer, comparison, encoding, batch)
                progress(comparison.rows)
            self.detected_at = now()
            seam.at("cycle.scanned")
            position = thread.call(self.scan.position)
            self._settle_absence(thread, writer, comparison, encoding, index)
            self.rows = comparison.rows
            self._guard(encoding, position)
            with self._timed("write"):
                self.staged = self._stage(writer, comparison, encoding, refreshed, position)
        seam.at("cycle.staged")

    def _take(
        self, writer: ChangeWriter, comparison: Comparison, encoding: Encoding, batch: pa.RecordBatch | None
    ) -> None:
        if batch is None or not batch.num_rows:
            return
        with self._timed("compare"):
            hashes = encoding.fingerprint(batch)
            outcome = comparison.add(batch, hashes)
        with self._timed("write"):
            writer.add(batch, hashes, outcome)

    def _next(self, stream: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        with self._timed("scan"):
            return next(stream, None)

    def _settle_absence(
        self,
        thread: ReaderThread,
        writer: ChangeWriter,
        comparison: Comparison,
        encoding: Encoding,
        index: Index | None,
    ) -> None:
        """Decide which absent keys are deletes and which wait to be confirmed."""
        absent = comparison.absent()
        mode = self.settings.guards.confirm_deletes
        if mode == "never" or (mode == "auto" and self.scan.consistent) or not len(absent) or index is None:
            self._deleted = absent
            return
        if not self._keys_compare(encoding):
            self._deleted = absent  # A row cannot wait in a state whose keys are of another kind.
            return
        if self._look_up(thread, writer, comparison, encoding, index, absent):
            self._deleted = comparison.absent()
            return
        self._deleted = missed_before(index, absent, self.place.state, self.entry.absent, self.source)
        self._waiting = np.setdiff1d(absent, self._deleted)

    def _look_up(
        self,
        thread: ReaderThread,
        writer: ChangeWriter,
        comparison: Comparison,
        encoding: Encoding,
        index: Index,
        absent: Positions,
    ) -> bool:
        """Ask the iterator for the absent keys; what it still finds is compared like any row. False: it cannot."""
        assert self._previous is not None  # noqa: S101
        locations = np.sort(index.gather(absent, "loc").astype(np.int64))
        for start in range(0, len(locations), LOOKUP_KEYS):
            keys = self._keys(self._previous.take(locations[start : start + LOOKUP_KEYS]))
            found = thread.call(lambda keys=keys: self.scan.lookup(keys))  # type: ignore[misc]
            if found is None:
                return False
            for batch in found:
                self._take(writer, comparison, encoding, batch)
        return True

    def _keys(self, rows: pa.RecordBatch) -> list[dict[str, Any]]:
        assert self._previous is not None  # noqa: S101
        schema = self._previous.schema
        columns = [python_column(rows.column(name), schema.types[name]) for name in schema.key]
        return [dict(zip(schema.key, values, strict=True)) for values in zip(*columns, strict=True)]

    # -- guard and stage -------------------------------------------------------------------------------------------

    def _guard(self, encoding: Encoding, position: Position | None) -> None:
        changes, _ = self._changes(encoding.schema)
        if changes and self.settings.on_schema_change == "fail":
            raise SchemaDriftError(
                f"scan {self.source}: the schema changed: {'; '.join(changes)}",
                hint="on_schema_change is 'fail'; set it to 'evolve' or 'hold' to let such a change pass",
            )
        self.reasons = reasons_to_hold(
            self.settings.guards,
            self._counts(),
            schema_changes=changes if self.settings.on_schema_change == "hold" else (),
            position=position,
            previous_position=self.entry.position,
        )

    def _stage(
        self,
        writer: ChangeWriter,
        comparison: Comparison,
        encoding: Encoding,
        refreshed: bool,
        position: Position | None,
    ) -> Staged:
        source_changes, rule_changes = self._changes(encoding.schema)
        changes = (*source_changes, *rule_changes)
        moved = comparison.inserts + comparison.updates + len(self._deleted)
        manifest: StoredFile | None = None
        segments: list[tuple[StoredFile, bool]] = []
        if moved or refreshed or self._previous is None or self.entry.rebaseline:
            manifest, segments = writer.finish(comparison, self._deleted)
        elif changes:
            manifest = restated(self._previous, self.cycle, encoding, self._places)
        return Staged(
            manifest=manifest,
            segments=tuple(StagedSegment(file=file, has_before_schema=evolved) for file, evolved in segments),
            schema=encoding.schema,
            schema_changes=changes,
            absent=self._write_absent(comparison),
            position=position or self.entry.position,
            baseline=self._previous is None,
            floor=self._silent,
            seen_at=to_text(self.seen_at),
            detected_at=to_text(self.detected_at),
        )

    def _write_absent(self, comparison: Comparison) -> Any:
        if not len(self._waiting) or comparison.index is None:
            return None
        folder = ensure_folder(self.place.state / "absent" / self.source)
        path = folder / f"{self._places.folder.name}.arrow"
        return write_absent(comparison.index, self._waiting, path, self.place.state)

    def proposal(self) -> Proposal:
        """What the commit is asked for."""
        assert self.staged is not None  # noqa: S101
        return Proposal(
            source=self.source,
            cycle=self.cycle,
            epoch=self.entry.epoch,
            base_cycle=self.entry.current,
            staged=self.staged,
            result=self.result("committed").to_json(),
        )

    def result(self, status: Any, **more: Any) -> CycleResult:
        """The cycle's result with this status."""
        counts = self._counts()
        return CycleResult(
            source=self.source,
            cycle=self.cycle,
            status=status,
            rows=counts.rows,
            inserts=0 if self._silent else counts.inserts,
            updates=counts.updates,
            deletes=counts.deletes,
            seconds=self.seconds | {"total": time.perf_counter() - self._started},
            bytes_written=self._bytes_written(),
            schema_changes=self.staged.schema_changes if self.staged else (),
            waiting_deletes=len(self._waiting),
            **more,
        )

    def discard(self) -> None:
        """Remove what the attempt wrote; what a crash leaves behind is swept at the next begin."""
        remove_tree(self._places.folder)
        for path in self._segment_paths():
            remove_file(path)
        self.tidy()

    def tidy(self) -> None:
        """Remove spill files, and the folder of a cycle that wrote no snapshot."""
        remove_tree(self._places.spill)
        if self._places.folder.is_dir() and not any(self._places.folder.iterdir()):
            remove_tree(self._places.folder)

    # -- what it is made from --------------------------------------------------------------------------------------

    @property
    def _old(self) -> Snapshot | None:
        """The state to compare with; nothing where a new base is to be made without events."""
        return None if self.entry.rebaseline else self._previous

    @property
    def _silent(self) -> bool:
        """Whether the cycle makes no events: a new base, or a first one that consumers bootstrap from."""
        first = self._previous is None and self.settings.baseline == "snapshot-only"
        return first or self.entry.rebaseline

    def _context(self) -> Context:
        previous = None
        if self._base is not None and self._previous is not None:
            previous = PreviousCommit(
                cycle=self._base.cycle,
                rows=self._previous.rows,
                committed_at=self._base.finished_at or self._base.started_at,
                position=self.entry.position,
            )
        return Context(
            source=self.source,
            options=self.settings.options,
            project=str(self.place.settings.project),
            key=tuple(self.settings.key),
            columns_excluded=tuple(self.settings.columns.exclude),
            previous=previous,
        )

    def _scan(self) -> Scan:
        columns = self.settings.columns
        rules = column_rules(columns.exclude, columns.mask, self.settings.mask_key)
        pinned = self._previous.schema if self._previous is not None else None

        def settled(found: Schema, declared: bool) -> Schema:
            return settle(found, pinned, declared=declared)

        return Scan(self.spec, self.ctx, rules, spill=self._places.spill, settle=settled, pinned=pinned)

    def _encoding(self) -> Encoding:
        assert self.scan.schema is not None  # noqa: S101
        schema = self.scan.schema
        columns = self.settings.columns
        return Encoding(
            schema=schema,
            ignore=frozenset(columns.ignore) & set(schema.names),
            tolerance={name: value for name, value in columns.tolerance.items() if name in schema.types},
        )

    def _index(self, encoding: Encoding) -> tuple[Index | None, bool]:
        """The index to compare with, and whether it had to be made anew (then a new base is written)."""
        old = self._old
        if old is None:
            return None, False
        same_rows = [(c.name, c.type.storage, c.type.layout) for c in old.schema.columns] == [
            (c.name, c.type.storage, c.type.layout) for c in encoding.schema.columns
        ]
        if same_rows and old.manifest.encoding["layout"] == encoding.layout:
            return old.index, False
        if not self._same_key(encoding.schema):
            return old.index, True
        with self._timed("refingerprint"):
            budget = self.place.settings.executor.memory_bytes // 8
            return refingerprint(old, encoding, self._places.spill, budget_bytes=budget), True

    def _same_key(self, schema: Schema) -> bool:
        return self._old is None or set(self._old.schema.key) == set(schema.key)

    def _keys_compare(self, encoding: Encoding) -> bool:
        return self._old is None or self._old.manifest.encoding["layout"]["key"] == encoding.layout["key"]

    def _base_is_due(self) -> bool:
        """Whether the cycle should write a whole base: the state is small, or its deltas have grown."""
        if self._old is None:
            return True
        manifest, rules = self._old.manifest, self.settings.snapshots
        if manifest.base_bytes + manifest.delta_bytes < rules.small_base_bytes:
            return True
        return manifest.delta_bytes > float(rules.delta_share) * manifest.base_bytes

    def _changes(self, schema: Schema) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sentences on what the source changed, and on what the configuration changed."""
        if self._previous is None:
            return (), ()
        found = schema_changes(self._previous.schema, schema)
        columns = self.settings.columns
        ours = {f"column {name!r} " for name in (*columns.exclude, *columns.mask)}
        by_rule = [change for change in found if change.startswith(tuple(ours))] if ours else []
        rules = list(by_rule)
        encoding = self._encoding()
        if self._previous.manifest.encoding["rules"] != encoding.rules and not self.entry.rebaseline:
            rules.append(f"rules of comparison: {encoding.rules_text}")
        return tuple(change for change in found if change not in by_rule), tuple(rules)

    def _counts(self) -> Counts:
        found = self._comparison
        return Counts(
            previous_rows=self._old.rows if self._old is not None else None,
            rows=found.rows if found else 0,
            inserts=found.inserts if found else 0,
            updates=found.updates if found else 0,
            deletes=len(self._deleted),
        )

    def _segment_paths(self) -> list[Any]:
        stem = self._places.segment_stem
        return sorted(stem.parent.glob(f"*{stem.name}-*")) if stem.parent.is_dir() else []

    def _bytes_written(self) -> int:
        folder = self._places.folder
        paths = [*(folder.iterdir() if folder.is_dir() else ()), *self._segment_paths()]
        return sum(path.stat().st_size for path in paths)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
