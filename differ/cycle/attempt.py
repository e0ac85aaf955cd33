"""One attempt of one source: what `run_cycles` does for it between begin and commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from differ.catalog import SourceEntry
from differ.catalog.catalog import now
from differ.catalog.commit import Proposal
from differ.catalog.entries import Staged, StagedSegment, to_text
from differ.config import SourceSettings
from differ.cycle.ground import Ground
from differ.cycle.place import Place
from differ.diff.absence import missed_before, write_absent
from differ.diff.changes import ChangeWriter, restated
from differ.diff.compare import Comparison
from differ.diff.encoding import Encoding
from differ.diff.guards import Counts, reasons_to_hold
from differ.diff.schema_changes import settle
from differ.errors import SchemaDriftError
from differ.executors import ReaderThread
from differ.iterators.contract import Context, IteratorSpec
from differ.iterators.scan import Scan, column_rules
from differ.model import CycleResult, Position
from differ.records.convert import convert
from differ.records.types import Schema
from differ.records.values import python_column
from differ.snapshots.index import Index, Positions
from differ.storage import StoredFile, ensure_folder, remove_file, remove_tree, seam

LOOKUP_KEYS = 1_000
FORM_ROWS = 1 << 16


class Attempt:
    """The cycle of one source while it is being made. Every buffer of it is bounded by `Ground.budget_bytes`."""

    def __init__(
        self, place: Place, settings: SourceSettings, spec: IteratorSpec, entry: SourceEntry, cycle: int
    ) -> None:
        self.place, self.settings, self.spec, self.entry, self.cycle = place, settings, spec, entry, cycle
        self.source = settings.name
        self.seconds: dict[str, float] = {}
        self.rows = 0
        self._started = time.perf_counter()
        self._places = place.places(self.source, cycle)
        self.ground = Ground(place, settings, entry)
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
        assert self.scan.schema is not None  # noqa: S101
        encoding = self.ground.encoding(self.scan.schema)
        with self._timed("refingerprint"):
            index, refreshed = self.ground.index(encoding, self._places.spill)
        comparison = Comparison(self.source, index, encoding, matching=self.ground.same_key(encoding.schema))
        self._comparison = comparison
        writer = ChangeWriter(
            self.source,
            self.cycle,
            self._places,
            encoding,
            previous=self.ground.old,
            index=index,
            rebase=refreshed or self.ground.base_is_due(),
            emit=not self.ground.silent,
            budget_bytes=self.ground.budget_bytes,
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
        if not self.ground.same_key_layout(encoding):
            self._deleted = absent  # A row cannot wait in a state whose keys are of another kind.
            return
        if self._look_up(thread, writer, comparison, encoding, index, absent):
            self._deleted = comparison.absent()
            return
        again = missed_before(index, absent, self.place.state, self.entry.absent, self.source)
        self._deleted = np.union1d(again, self._without_form(index, np.setdiff1d(absent, again), encoding))
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
        assert self.ground.previous is not None  # noqa: S101
        locations = np.sort(index.gather(absent, "loc").astype(np.int64))
        for start in range(0, len(locations), LOOKUP_KEYS):
            keys = self._keys(self.ground.previous.take(locations[start : start + LOOKUP_KEYS]))
            found = thread.call(lambda keys=keys: self.scan.lookup(keys))  # type: ignore[misc]
            if found is None:
                return False
            for batch in found:
                self._take(writer, comparison, encoding, batch)
        return True

    def _without_form(self, index: Index, waiting: Positions, encoding: Encoding) -> Positions:
        """Those of the waiting rows that have no exact form under the new schema: no state could hold them as they
        were emitted, so their absence counts at once."""
        assert self.ground.previous is not None  # noqa: S101
        previous = self.ground.previous
        if previous.schema == encoding.schema:
            return waiting[:0]
        locations = index.gather(waiting, "loc").astype(np.int64)
        order = np.argsort(locations)
        inexact = np.zeros(len(waiting), dtype=bool)
        for start in range(0, len(order), FORM_ROWS):
            chunk = order[start : start + FORM_ROWS]
            inexact[chunk] = convert(previous.take(locations[chunk]), previous.schema, encoding.schema)[1]
        return waiting[inexact]

    def _keys(self, rows: pa.RecordBatch) -> list[dict[str, Any]]:
        assert self.ground.previous is not None  # noqa: S101
        schema = self.ground.previous.schema
        columns = [python_column(rows.column(name), schema.types[name]) for name in schema.key]
        return [dict(zip(schema.key, values, strict=True)) for values in zip(*columns, strict=True)]

    # -- guard and stage -------------------------------------------------------------------------------------------

    def _guard(self, encoding: Encoding, position: Position | None) -> None:
        changes, _ = self.ground.changes(encoding)
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
        source_changes, rule_changes = self.ground.changes(encoding)
        changes = (*source_changes, *rule_changes)
        moved = comparison.inserts + comparison.updates + len(self._deleted)
        manifest: StoredFile | None = None
        segments: list[tuple[StoredFile, bool]] = []
        if moved or refreshed or self.ground.previous is None or self.entry.rebaseline:
            manifest, segments = writer.finish(comparison, self._deleted)
        elif changes:
            manifest = restated(self.ground.previous, self.cycle, encoding, self._places)
        return Staged(
            manifest=manifest,
            segments=tuple(StagedSegment(file=file, has_before_schema=evolved) for file, evolved in segments),
            schema=encoding.schema,
            schema_changes=changes,
            absent=self._write_absent(comparison),
            position=position or self.entry.position,
            baseline=self.ground.previous is None,
            floor=self.ground.silent,
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
            inserts=0 if self.ground.silent else counts.inserts,
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
        if self.staged is not None and self.staged.absent is not None:
            remove_file(self.place.state / self.staged.absent.path)
        self.tidy()

    def tidy(self) -> None:
        """Remove spill files, and the folder of a cycle that wrote no snapshot."""
        remove_tree(self._places.spill)
        if self._places.folder.is_dir() and not any(self._places.folder.iterdir()):
            remove_tree(self._places.folder)

    # -- what it is made from --------------------------------------------------------------------------------------

    def _context(self) -> Context:
        return Context(
            source=self.source,
            options=self.settings.options,
            project=str(self.place.settings.project),
            key=tuple(self.settings.key),
            columns_excluded=tuple(self.settings.columns.exclude),
            previous=self.ground.commit,
        )

    def _scan(self) -> Scan:
        columns = self.settings.columns
        rules = column_rules(columns.exclude, columns.mask, self.settings.mask_key)
        pinned = self.ground.previous.schema if self.ground.previous is not None else None

        def settled(found: Schema, declared: Collection[str]) -> Schema:
            return settle(found, pinned, declared=declared)

        return Scan(self.spec, self.ctx, rules, spill=self._places.spill, settle=settled, pinned=pinned)

    def _counts(self) -> Counts:
        found = self._comparison
        return Counts(
            previous_rows=self.ground.old.rows if self.ground.old is not None else None,
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
