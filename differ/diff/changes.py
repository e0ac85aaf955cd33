"""Writes what a cycle found: changed rows, index, manifest and event segments, all under names nobody refers to yet.

While the scan streams by, inserted rows go straight to a Parquet part and to the segment of inserts, and updated rows
wait for their before images. `finish` then writes updates and deletes, the surviving rows where a new base is due, the
next index and the manifest. In a new base the changed rows come first and the surviving ones follow; in a delta the
changed rows continue the numbering of what is there.

Invariant: apply(events, previous state) == next state, row by row: a row that is no event keeps its stored image.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from differ.diff.compare import Comparison, Outcome, duplicate_key
from differ.diff.encoding import Encoding
from differ.diff.images import WaitingUpdates, changed_columns
from differ.errors import DuplicateKeyError
from differ.records.convert import convert
from differ.records.fingerprints import Fingerprints
from differ.relay.segments import SegmentWriter
from differ.snapshots.entries import EntryRuns, column, make_entries
from differ.snapshots.index import DuplicateEntriesError, Index, Mask, Positions, merge, write_index
from differ.snapshots.manifest import Manifest, Part, Removed, write_manifest
from differ.snapshots.parts import PartReader, PartWriter
from differ.snapshots.snapshot import Snapshot
from differ.storage import StoredFile, ensure_folder

DELETE_CHUNK_ROWS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a cycle writes. folder and root: the cycle's own folder below the snapshots' root; segment_stem: path and
    beginning of the name of its segments below segment_root; spill: a folder for what is thrown away again."""

    folder: Path
    root: Path
    segment_stem: Path
    segment_root: Path
    spill: Path


class ChangeWriter:
    """Collects one cycle's changes; `finish` may be called once. Use as a context manager: on failure, or without
    `finish`, the files being written are removed."""

    def __init__(  # noqa: PLR0913 - one cycle is made of this
        self,
        source: str,
        cycle: int,
        places: Places,
        encoding: Encoding,
        *,
        previous: Snapshot | None,
        index: Index | None,
        rebase: bool,
        emit: bool,
        budget_bytes: int,
    ) -> None:
        self._source, self._cycle, self._places, self._encoding = source, cycle, places, encoding
        self._previous, self._index = previous, index
        self._rebase = rebase or previous is None
        self._emit = emit
        self._stack = ExitStack()
        self._schema = encoding.schema
        self._before_schema = previous.schema if previous is not None else encoding.schema
        self._first_row = 0 if self._rebase or previous is None else previous.manifest.part_rows
        ensure_folder(places.folder)
        ensure_folder(places.spill)
        stem = "part" if self._rebase else "delta"
        self._rows = self._stack.enter_context(PartWriter(places.folder, stem, self._schema.arrow))
        self._entries = EntryRuns(encoding.entries, places.spill, budget_bytes=budget_bytes)
        self._waiting = WaitingUpdates(
            self._schema.arrow,
            places.spill,
            locations=previous.manifest.part_rows if previous is not None else 0,
            budget_bytes=budget_bytes,
        )
        self._segments: dict[str, SegmentWriter] = {}

    def add(self, batch: pa.RecordBatch, hashes: Fingerprints, outcome: Outcome) -> None:
        """Take the changed rows out of a batch in hand."""
        if len(outcome.inserts):
            everything = len(outcome.inserts) == batch.num_rows
            rows = batch if everything else batch.take(pa.array(outcome.inserts))
            self._append(rows, hashes if everything else pick(hashes, outcome.inserts))
            if self._emit:
                self._segment("insert").write(after=rows)
        if len(outcome.updates):
            assert self._index is not None  # noqa: S101
            locations = self._index.gather(outcome.positions, "loc")
            self._waiting.add(batch.take(pa.array(outcome.updates)), pick(hashes, outcome.updates), locations)

    def finish(self, comparison: Comparison, deleted: Positions) -> tuple[StoredFile, list[tuple[StoredFile, bool]]]:
        """Write the rest; return the manifest's file and the segments in event order, each with whether its before
        images have the previous schema. Raises DuplicateKeyError when two inserted rows share a key."""
        removed_keys = self._stack.enter_context(self._removed_writer()) if not self._rebase else None
        self._write_updates(removed_keys)
        self._write_deletes(deleted, removed_keys)
        changed_parts = self._rows.finish(self._places.root, allow_none=self._previous is not None)
        dead = comparison.dead(deleted)
        kept_parts, relocate = self._write_kept(dead, len(changed_parts)) if self._rebase else ([], None)
        parts = self._parts(changed_parts, kept_parts)
        index = self._write_index(dead, relocate, parts)
        manifest = Manifest(
            source=self._source,
            cycle=self._cycle,
            rows=index.rows,
            schema=self._schema,
            encoding=self._encoding.to_json(),
            parts=parts,
            removed=self._removed(removed_keys),
            index=index,
        )
        order = [self._segments[op] for op in ("delete", "update", "insert") if op in self._segments]
        evolved = self._before_schema != self._schema
        segments = [(writer.finish(self._places.segment_root), evolved) for writer in order if writer.rows]
        return write_manifest(self._places.root, self._places.folder, manifest), segments

    def _append(self, rows: pa.RecordBatch, hashes: Fingerprints) -> None:
        first = self._first_row + self._rows.rows
        locations = np.arange(first, first + rows.num_rows, dtype=np.uint64)
        self._rows.write(rows)
        tolerated = self._encoding.tolerated_values(rows)
        self._entries.add(make_entries(hashes, locations, tolerated, self._encoding.entries))

    def _write_updates(self, removed_keys: PartWriter | None) -> None:
        for rows, hashes, locations in self._waiting.chunks():
            assert self._previous is not None  # noqa: S101
            before = self._previous.take(locations)
            changed = changed_columns(
                before,
                self._before_schema,
                rows,
                self._schema,
                source=self._source,
                returned=self._encoding.returned,
            )
            self._append(rows, hashes)
            if self._emit:
                self._segment("update").write(before=before, after=rows, changed=changed)
            if removed_keys is not None:
                removed_keys.write(before.select(list(self._before_schema.key)))

    def _write_deletes(self, deleted: Positions, removed_keys: PartWriter | None) -> None:
        if not len(deleted):
            return
        assert self._index is not None  # noqa: S101
        assert self._previous is not None  # noqa: S101
        locations = np.sort(self._index.gather(deleted, "loc").astype(np.int64))
        for start in range(0, len(locations), DELETE_CHUNK_ROWS):
            before = self._previous.take(locations[start : start + DELETE_CHUNK_ROWS])
            if self._emit:
                self._segment("delete").write(before=before)
            if removed_keys is not None:
                removed_keys.write(before.select(list(self._before_schema.key)))

    def _write_kept(self, dead: Mask, first_number: int) -> tuple[list[StoredFile], np.ndarray[Any, Any] | None]:
        if self._previous is None or self._index is None:
            return [], None
        alive = np.zeros(self._previous.manifest.part_rows, dtype=bool)
        for part in self._index.ranges.values():
            alive[column(part.entries, "loc")[~dead[part.offset : part.offset + part.entries.num_rows]]] = True
        relocate = np.cumsum(alive, dtype=np.uint64) - np.uint64(1) + np.uint64(self._rows.rows)
        writer = PartWriter(self._places.folder, "part", self._schema.arrow, first_number=first_number)
        self._stack.enter_context(writer)
        for first, batch in self._previous.parts.groups():
            mask = alive[first : first + batch.num_rows]
            if mask.any():
                kept = batch if mask.all() else batch.filter(pa.array(mask))
                writer.write(convert(kept, self._before_schema, self._schema)[0])
        return writer.finish(self._places.root, allow_none=bool(self._rows.rows)), relocate

    def _parts(self, changed: list[StoredFile], kept: list[StoredFile]) -> tuple[Part, ...]:
        previous = () if self._rebase or self._previous is None else self._previous.manifest.parts
        parts = list(previous)
        for file in [*changed, *kept]:
            first = parts[-1].end_row if parts else 0
            kind = "base" if self._rebase else "delta"
            parts.append(Part(kind=kind, cycle=self._cycle, first_row=first, file=file))  # type: ignore[arg-type]
        return tuple(parts)

    def _write_index(self, dead: Mask, relocate: np.ndarray[Any, Any] | None, parts: tuple[Part, ...]) -> StoredFile:
        survivors = self._index.rows - int(dead.sum()) if self._index is not None else 0
        entries = merge(self._index if survivors else None, dead, self._entries, relocate)
        try:
            return write_index(
                self._places.folder / "index.arrow",
                self._places.root,
                entries=entries,
                total_rows=survivors + self._entries.rows,
                schema=self._encoding.entries,
            )
        except DuplicateEntriesError as error:
            raise self._duplicate(error.locations, parts) from None

    def _duplicate(self, locations: tuple[int, int], parts: tuple[Part, ...]) -> DuplicateKeyError:
        reader = PartReader(self._places.root, parts, self._schema.arrow, f"cycle of {self._source}")
        row = reader.take(np.array([max(locations)], dtype=np.int64))
        reader.close()
        return duplicate_key(self._source, row, self._schema, 0)

    def _removed_writer(self) -> PartWriter:
        return PartWriter(self._places.folder, "removed", self._before_schema.key_schema.arrow)

    def _removed(self, writer: PartWriter | None) -> tuple[Removed, ...]:
        if writer is None or self._previous is None:
            return ()
        files = writer.finish(self._places.root)
        return (*self._previous.manifest.removed, *(Removed(cycle=self._cycle, file=file) for file in files))

    def _segment(self, op: Any) -> SegmentWriter:
        if op not in self._segments:
            stem = self._places.segment_stem
            ensure_folder(stem.parent)
            writer = SegmentWriter(stem.with_name(f"{stem.name}-{op}s.arrow"), op, self._schema, self._before_schema)
            self._segments[op] = self._stack.enter_context(writer)
        return self._segments[op]

    def __enter__(self) -> ChangeWriter:
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()


def pick(hashes: Fingerprints, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Fingerprints:
    """The fingerprints of some rows."""
    return Fingerprints(hashes.key_hi[rows], hashes.key_lo[rows], hashes.row_hi[rows], hashes.row_lo[rows])


def restated(previous: Snapshot, cycle: int, encoding: Encoding, places: Places) -> StoredFile:
    """A manifest that gives the previous state's files another schema of the same storage (a widened int)."""
    old = previous.manifest
    manifest = Manifest(
        source=old.source,
        cycle=cycle,
        rows=old.rows,
        schema=encoding.schema,
        encoding=encoding.to_json(),
        parts=old.parts,
        removed=old.removed,
        index=old.index,
    )
    ensure_folder(places.folder)
    return write_manifest(places.root, places.folder, manifest)
