"""Writes what a cycle found: changed rows, index, manifest and event segments, all under names nobody refers to yet.

While the scan streams by, inserted rows go straight to a Parquet part and to the segment of inserts, and updated rows
wait for their before images. `finish` then writes updates and deletes, the surviving rows where a new base is due, the
next index and the manifest. In a new base the changed rows come first and the surviving ones follow; in a delta the
changed rows continue the numbering of what is there.

Invariant: apply(events, previous state) == next state, row by row: a row that is no event keeps its stored image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from differ.diff.compare import Comparison, Outcome, duplicate_key
from differ.diff.encoding import Encoding
from differ.diff.gathering import CHUNK_BYTES, CHUNK_ROWS, Gathering, gathered
from differ.diff.images import Stretch, WaitingUpdates, changed_columns
from differ.errors import DuplicateKeyError
from differ.records.convert import convert
from differ.records.fingerprints import Fingerprints
from differ.records.storing import spelled_out
from differ.relay.segments import SegmentWriter
from differ.snapshots import merge
from differ.snapshots.bits import Bits
from differ.snapshots.bits import Places as Numbers
from differ.snapshots.entries import HASHES, NONE, EntryRuns, delta_schema, make_entries
from differ.snapshots.index import Index
from differ.snapshots.manifest import Manifest, Part, Removed, write_manifest
from differ.snapshots.parts import PartReader
from differ.snapshots.partwriter import PartWriter
from differ.snapshots.run import Positions, Unsigned
from differ.snapshots.snapshot import Snapshot
from differ.storage import StoredFile, ensure_folder


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
        entries = encoding.entries if self._rebase else delta_schema(encoding.entries)
        self._entries = EntryRuns(entries, places.spill, budget_bytes=budget_bytes)
        self._waiting = WaitingUpdates(
            self._schema.arrow,
            places.spill,
            locations=previous.manifest.part_rows if previous is not None else 0,
            locate=self._locations,
            budget_bytes=budget_bytes,
        )
        self._inserted = Gathering()
        self._segments: dict[str, SegmentWriter] = {}

    def add(self, batch: pa.RecordBatch, hashes: Fingerprints, outcome: Outcome) -> None:
        """Take the changed rows out of a batch in hand."""
        count = len(outcome.inserts)
        if count == batch.num_rows:
            self._inserted.add(self._taken(batch, None), hashes)
        elif len(outcome.updates) == batch.num_rows:
            self._waiting.add(self._taken(batch, None), hashes, outcome.positions)
        elif count or len(outcome.updates):
            rows = self._taken(batch, np.concatenate([outcome.inserts, outcome.updates]))
            self._inserted.add(rows.slice(0, count), hashes.take(outcome.inserts))
            self._waiting.add(rows.slice(count), hashes.take(outcome.updates), outcome.positions)
        if self._inserted.rows >= CHUNK_ROWS or self._inserted.bytes >= CHUNK_BYTES:
            self._write_inserted()

    def _locations(self, positions: Positions) -> Unsigned:
        assert self._index is not None  # noqa: S101
        return self._index.gather(positions, "loc")

    def _write_inserted(self) -> None:
        for rows, hashes in self._inserted.all():
            self._append(rows, hashes)
            if self._emit:
                self._segment("insert").write(after=rows)

    def finish(self, comparison: Comparison, deleted: Positions) -> tuple[StoredFile, list[tuple[StoredFile, bool]]]:
        """Write the rest; return the manifest's file and the segments in event order, each with whether its before
        images have the previous schema. Raises DuplicateKeyError when two inserted rows share a key."""
        self._write_inserted()
        removed_keys = self._stack.enter_context(self._removed_writer()) if not self._rebase else None
        self._write_moved(deleted, removed_keys)
        dead = comparison.dead(deleted)
        survivors = self._index.rows - dead.count() if self._index is not None else 0
        changed_parts: list[StoredFile] = []
        kept_parts: list[StoredFile] = []
        relocate = None
        if self._rebase and self._index is not None:
            changed_parts = self._finish_rows()
            kept_parts, relocate = self._write_kept(dead, len(changed_parts))
        # Else the index is made while the last rows are still being encoded.
        try:
            index, deltas = self._write_index(dead, relocate, survivors)
        except merge.DuplicateEntriesError as error:
            parts = self._parts(changed_parts or self._finish_rows(), kept_parts)
            raise self._duplicate(error.locations, parts) from None
        parts = self._parts(changed_parts or self._finish_rows(), kept_parts)
        manifest = Manifest(
            source=self._source,
            cycle=self._cycle,
            rows=survivors + self._rows.rows,
            schema=self._schema,
            encoding=self._encoding.to_json(),
            parts=parts,
            removed=self._removed(removed_keys),
            index=index,
            index_deltas=deltas,
        )
        order = [self._segments[op] for op in ("delete", "update", "insert") if op in self._segments]
        evolved = self._before_schema != self._schema
        segments = [(writer.finish(self._places.segment_root), evolved) for writer in order if writer.rows]
        return write_manifest(self._places.root, self._places.folder, manifest), segments

    def _finish_rows(self) -> list[StoredFile]:
        return self._rows.finish(self._places.root, allow_none=self._previous is not None)

    def _taken(self, batch: pa.RecordBatch, rows: Numbers | None) -> pa.RecordBatch:
        """Some rows of a batch, or all, as they are stored: what was a dictionary is spelled out for these alone."""
        return spelled_out(batch if rows is None else batch.take(pa.array(rows)), self._schema.arrow)

    def _append(self, rows: pa.RecordBatch, hashes: Fingerprints, replaces: Positions | None = None) -> None:
        """Store rows and their entries. replaces: the index positions of the entries whose place they take."""
        first = self._first_row + self._rows.rows
        locations = np.arange(first, first + rows.num_rows, dtype=np.uint64)
        self._rows.write(rows)
        tolerated = self._encoding.tolerated_values(rows)
        took = None if replaces is None else replaces.astype(np.uint64)
        self._entries.add(make_entries(hashes, locations, tolerated, self._entries.schema, took))

    def _write_moved(self, deleted: Positions, removed_keys: PartWriter | None) -> None:
        """Updates and deletes, with their before images: each row group of the previous state is decoded once."""
        if self._index is None:
            return
        if not self._rebase:
            self._forget(deleted)
        needs_deleted = self._emit or removed_keys is not None
        gone = np.sort(self._locations(deleted if needs_deleted else deleted[:0]).astype(np.int64))
        for stretch in self._waiting.stretches():
            start, stop = np.searchsorted(gone, [stretch.start, stretch.stop])
            self._write_stretch(stretch, gone[start:stop], removed_keys)

    def _write_stretch(self, stretch: Stretch, gone: Numbers, removed_keys: PartWriter | None) -> None:
        locations = np.sort(np.concatenate([stretch.locations, gone]))
        if not len(locations):
            return
        assert self._previous is not None  # noqa: S101
        first = 0
        for before in gathered(self._previous.rows_at(locations)):
            wanted = locations[first : first + before.num_rows]
            first += before.num_rows
            start, stop = np.searchsorted(stretch.locations, [wanted[0], wanted[-1] + 1])
            if stop - start == len(wanted):
                self._write_updates(stretch, int(start), int(stop), before)
            else:
                is_update = np.isin(wanted, stretch.locations[start:stop], assume_unique=True)
                self._write_updates(stretch, int(start), int(stop), before.filter(pa.array(is_update)))
                if self._emit:
                    self._segment("delete").write(before=before.filter(pa.array(~is_update)))
            if removed_keys is not None:
                removed_keys.write(before.select(list(self._before_schema.key)))

    def _write_updates(self, stretch: Stretch, start: int, stop: int, before: pa.RecordBatch) -> None:
        if start == stop:
            return
        rows, hashes, positions = stretch.take(start, stop)
        changed = changed_columns(
            before, self._before_schema, rows, self._schema, source=self._source, returned=self._encoding.returned
        )
        self._append(rows, hashes, positions)
        if self._emit:
            self._segment("update").write(before=before, after=rows, changed=changed)

    def _forget(self, deleted: Positions) -> None:
        """Entries that say that keys are gone."""
        assert self._index is not None  # noqa: S101
        for start in range(0, len(deleted), CHUNK_ROWS):
            positions = deleted[start : start + CHUNK_ROWS]
            hashes = Fingerprints(*(self._index.gather(positions, name) for name in HASHES))
            nowhere = np.full(len(positions), NONE)
            entries = make_entries(hashes, nowhere, {}, self._entries.schema, positions.astype(np.uint64))
            self._entries.add(entries)

    def _write_kept(self, dead: Bits, first_number: int) -> tuple[list[StoredFile], np.ndarray[Any, Any] | None]:
        if self._previous is None or self._index is None:
            return [], None
        alive = self._index.live(self._previous.manifest.part_rows, dead)
        assert alive is not None  # noqa: S101
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

    def _write_index(
        self, dead: Bits, relocate: np.ndarray[Any, Any] | None, survivors: int
    ) -> tuple[StoredFile, tuple[StoredFile, ...]]:
        """The base run of the next index and its deltas; the base is the previous one where little changed."""
        entries, index = self._entries, self._index
        if self._rebase or index is None or merge.wants_rewrite(index, entries.rows):
            merged = merge.merge(index if survivors else None, dead, entries, relocate)
            return self._write_run("index", merged, survivors + self._rows.rows, self._encoding.entries), ()
        assert self._previous is not None  # noqa: S101
        manifest = self._previous.manifest
        if merge.wants_fold(index):
            folded = merge.fold(index, dead, entries)
            rows = index.size - index.base.size + entries.rows
            return manifest.index, (self._write_run("index-delta", folded, rows, entries.schema),)
        delta = self._write_run("index-delta", merge.append(entries), entries.rows, entries.schema)
        return manifest.index, (*manifest.index_deltas, delta)

    def _write_run(self, stem: str, entries: Iterator[pa.RecordBatch], rows: int, schema: pa.Schema) -> StoredFile:
        path = self._places.folder / f"{stem}.arrow"
        return merge.write_run(path, self._places.root, entries=entries, total_rows=rows, schema=schema)

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
        index_deltas=old.index_deltas,
    )
    ensure_folder(places.folder)
    return write_manifest(places.root, places.folder, manifest)
