"""One attempt of one source: what `run_cycles` does for it between begin and commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any, TypeAlias

import pyarrow as pa

from differ.catalog import SourceEntry
from differ.catalog.catalog import now
from differ.catalog.commit import Proposal
from differ.catalog.entries import Staged, StagedSegment, to_text
from differ.config import SourceSettings
from differ.cycle.absence import NOTHING, Absence, settle_absence
from differ.cycle.ground import Ground
from differ.cycle.place import Place
from differ.cycle.ranges import RangePlan
from differ.diff.absence import write_absent
from differ.diff.changes import ChangeWriter, restated
from differ.diff.compare import Comparison
from differ.diff.encoding import Encoding
from differ.diff.guards import Counts, reasons_to_hold
from differ.diff.schema_changes import settle
from differ.errors import SchemaDriftError
from differ.executors import ReaderThread
from differ.executors.ahead import ahead
from differ.iterators.contract import Context, IteratorSpec
from differ.iterators.scan import Scan, column_rules
from differ.model import CycleResult, Position
from differ.records.fingerprints import Fingerprints
from differ.records.types import Schema
from differ.storage import StoredFile, ensure_folder, remove_file, remove_tree, seam

Hashed: TypeAlias = tuple[pa.RecordBatch, Fingerprints]


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
        self.ranges = RangePlan(place, settings, entry, self.ground)
        self.seen_at = self.detected_at = now()
        self.ctx = self._context()
        self.scan = self._scan()
        self.staged: Staged | None = None
        self.reasons: list[str] = []
        self._comparison: Comparison | None = None
        self._absence = Absence(NOTHING, NOTHING)

    # -- scan and compare ------------------------------------------------------------------------------------------

    def read(self, thread: ReaderThread, progress: Callable[[int], None]) -> None:
        """Scan, compare and stage. Raises whatever goes wrong; nothing is visible then."""
        ensure_folder(self._places.spill)
        with self._timed("scan"):
            thread.call(self.scan.open)
            self.ranges.look(thread, self.scan)
            stream = thread.stream(self.scan.batches)
            first = next(stream, None)
        assert self.scan.schema is not None  # noqa: S101
        encoding = self.ground.encoding(self.scan.schema)
        with self._timed("index"):
            index, refreshed = self.ground.index(encoding, self._places.spill)
        comparison = Comparison(self.source, index, encoding, matching=self.ground.same_key(encoding.schema))
        self._comparison = comparison
        self.ranges.count_unread(comparison)
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
            batches = stream if first is None else chain([first], stream)
            # Hashed in a thread of its own, while the reader's decodes the next batch and this one compares the last.
            hashed = ahead(batches, lambda batch: (batch, encoding.fingerprint(batch)), 1)
            with closing(hashed):
                while (found := self._next(hashed)) is not None:
                    self._take(writer, comparison, *found)
                    progress(comparison.rows)
            self.detected_at = now()
            seam.at("cycle.scanned")
            position = thread.call(self.scan.position)
            self._absence = settle_absence(
                self.ground,
                comparison,
                encoding,
                consistent=self.scan.consistent,
                look_up=lambda keys: thread.call(lambda: self.scan.lookup(keys)),
                take=lambda batch: self._take(writer, comparison, batch, encoding.fingerprint(batch)),
            )
            self.rows = comparison.rows
            with self._timed("scan"):
                self.ranges.settle(thread, self.scan, rows=self.rows, waiting=len(self._absence.waiting))
            self._guard(encoding, position)
            with self._timed("write"):
                self.staged = self._stage(writer, comparison, encoding, refreshed, position)
        seam.at("cycle.staged")

    def _take(self, writer: ChangeWriter, comparison: Comparison, batch: pa.RecordBatch, hashes: Fingerprints) -> None:
        if not batch.num_rows:
            return
        with self._timed("compare"):
            outcome = comparison.add(batch, hashes)
        with self._timed("write"):
            writer.add(batch, hashes, outcome)

    def _next(self, stream: Iterator[Hashed]) -> Hashed | None:
        with self._timed("scan"):
            return next(stream, None)

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
        moved = comparison.inserts + comparison.updates + len(self._absence.deleted)
        manifest: StoredFile | None = None
        segments: list[tuple[StoredFile, bool]] = []
        if moved or refreshed or self.ground.previous is None or self.entry.rebaseline:
            manifest, segments = writer.finish(comparison, self._absence.deleted)
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
            sums=self.ranges.stage(self._places.folder.name),
        )

    def _write_absent(self, comparison: Comparison) -> Any:
        if not len(self._absence.waiting) or comparison.index is None:
            return None
        folder = ensure_folder(self.place.state / "absent" / self.source)
        path = folder / f"{self._places.folder.name}.arrow"
        return write_absent(comparison.index, self._absence.waiting, path, self.place.state)

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
            waiting_deletes=len(self._absence.waiting),
            ranges=self.ranges.ranges,
            ranges_read=self.ranges.ranges_read,
            full_reason=self.ranges.reason,
            **more,
        )

    def discard(self) -> None:
        """Remove what the attempt wrote; what a crash leaves behind is swept at the next begin."""
        remove_tree(self._places.folder)
        for path in self._segment_paths():
            remove_file(path)
        if self.staged is not None and self.staged.absent is not None:
            remove_file(self.place.state / self.staged.absent.path)
        self.ranges.discard()
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
            range_rows=self.ranges.range_rows,
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
            replaced_rows=self.ground.previous.rows if self.ground.previous is not None else 0,
            rows=found.rows if found else 0,
            inserts=found.inserts if found else 0,
            updates=found.updates if found else 0,
            deletes=len(self._absence.deleted),
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
