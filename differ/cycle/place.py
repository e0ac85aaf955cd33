"""Where a project keeps its things, and the sweep of what nothing refers to."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from differ.catalog import Catalog, CycleEntry, SourceEntry
from differ.catalog.catalog import now
from differ.catalog.entries import StagedSums
from differ.config import Settings
from differ.diff.changes import Places
from differ.errors import CorruptionError, StorageError, UsageError
from differ.relay.retention import expired, let_go
from differ.snapshots.manifest import Manifest, read_manifest
from differ.snapshots.snapshot import Snapshot, not_kept
from differ.storage import remove_file, remove_tree, seam

if TYPE_CHECKING:
    from differ.catalog.consumer_entries import ConsumerEntry
    from differ.catalog.consumers import Consumers
    from differ.catalog.pins import Pin

log = logging.getLogger(__name__)
_FOLDER = re.compile(r"cycle-\d{8,}-(?P<mark>[0-9a-f]{8})-[0-9a-f]{4}")
_FILE = re.compile(rf"\.?{_FOLDER.pattern}(?:-\w+)?\.arrow(?:\.tmp)?")
ENDED_CYCLES_KEPT = 500
"""How many cycles that left no snapshot (unchanged, failed, ...) a source keeps in the catalog."""


@dataclass(eq=False)
class Place:
    """The folders and the open catalog of one project."""

    settings: Settings
    catalog: Catalog

    @property
    def budget_bytes(self) -> int:
        """What one buffer of changed rows or index entries may hold before it is spilled: a small share of
        `executor.memory`, for there are several of them, and what is read and decoded takes most."""
        return self.settings.executor.memory_bytes // 32

    @cached_property
    def snapshots(self) -> Path:
        """The root of all snapshots."""
        return self.settings.storage.snapshots

    @cached_property
    def state(self) -> Path:
        """The root of segments, absent keys, locks and spill files."""
        return self.settings.storage.state

    @cached_property
    def locks(self) -> Path:
        """The folder of the lock files."""
        return self.state / "locks"

    @cached_property
    def consumers(self) -> Consumers:
        """The consumers' database; nothing is made before the first consumer or pin."""
        from differ.catalog.consumers import Consumers, consumers_url

        return Consumers(consumers_url(self.settings.storage.catalog, self.state))

    @cached_property
    def mark(self) -> str:
        """The beginning of the stream's id, part of every name, so that another stream's files are never taken for
        leftovers of this one."""
        return self.catalog.stream().stream_id[:8]

    def places(self, source: str, cycle: int) -> Places:
        """Fresh, unique paths for one attempt."""
        name = f"cycle-{cycle:08d}-{self.mark}-{uuid.uuid4().hex[:4]}"
        return Places(
            folder=self.snapshots / source / name,
            root=self.snapshots,
            segment_stem=self.state / "segments" / source / name,
            segment_root=self.state,
            spill=self.state / "spill" / source / name,
        )

    def manifest(self, entry: CycleEntry) -> Manifest:
        """The verified manifest of a committed or held cycle."""
        if entry.staged is None or entry.staged.manifest is None:
            raise CorruptionError(
                f"read snapshot {entry.source}/{entry.cycle}: the catalog names no manifest", hint="run 'differ check'"
            )
        return read_manifest(self.snapshots, entry.staged.manifest, entry.source)

    def kept_sums(self, entry: SourceEntry) -> StagedSums | None:
        """The checksums that describe the source's current state: those of the newest cycle, where that made the state
        or found it unchanged."""
        newest = self.catalog.cycles(entry.name, status=["committed", "unchanged"], limit=1)
        if not newest or newest[0].staged is None or entry.current is None:
            return None
        made = newest[0].base_cycle if newest[0].status == "unchanged" else newest[0].cycle
        return newest[0].staged.sums if made == entry.current else None

    def snapshot(self, source: str, as_of: int | None = None) -> Snapshot:
        """The state of a source at SCN `as_of` (None: now). Raises UsageError before the first cycle and above the
        head, NotKeptError where retention removed it."""
        stream = self.catalog.stream()
        if as_of is not None and not 0 <= as_of <= stream.head_scn:
            raise UsageError(
                f"read snapshot {source} as of SCN {as_of}: the head is {stream.head_scn}", hint="see 'differ status'"
            )
        entry = self.catalog.snapshot_cycle(source, as_of)
        if entry is None:
            committed = self.catalog.cycles(source, status=["committed"])
            if as_of is not None and committed and committed[-1].base_cycle is not None:
                raise not_kept(source, as_of)  # What it was based on is forgotten.
            when = "" if as_of is None else f" as of SCN {as_of}"
            raise UsageError(
                f"read snapshot {source}{when}: it had no committed cycle", hint=f"run 'differ scan --source {source}'"
            )
        scn = entry.scn_last or 0
        if entry.staged is None:
            raise not_kept(source, scn if as_of is None else as_of)
        try:
            manifest = self.manifest(entry)
        except CorruptionError:
            if self._is_kept(entry):
                raise
            return self.snapshot(source, as_of)  # A cycle was committed since the catalog was asked.
        return Snapshot(self.snapshots, manifest, scn=scn, is_kept=lambda: self._is_kept(entry))

    def _is_kept(self, entry: CycleEntry) -> bool:
        return self.catalog.cycle(entry.source, entry.cycle).staged is not None

    def retire(self, source: str) -> None:
        """Let go of snapshots past `snapshots.keep`, of old attempts and of events past the relay's retention, as far
        as no consumer or pin needs them, then sweep; the caller holds the source's lock."""
        moment = now()
        retention = self.settings.relay.retention
        old = expired(self.catalog, retention, moment)
        snapshots, forgotten = self._past(source)
        seam.at("retire.planned")
        if old or snapshots:
            from differ.catalog.pins import pinned_cycles

            # What is past was found before the claims are read: whoever comes later claims the present alone.
            with self._claimed(moment, below=old.last_scn if old else 0) as (pins, behind):
                seam.at("retire.claimed")
                if old:
                    pinned = [pin.cursor for pin in pins]
                    let_go(self.catalog, old, retention, behind=behind, pinned=pinned)
                needed = pinned_cycles(pins).get(source, set())
                self.catalog.let_go(source, [cycle for cycle in snapshots if cycle not in needed], [])
        self.catalog.let_go(source, [], forgotten)
        self.sweep(source)

    def _past(self, source: str) -> tuple[list[int], list[int]]:
        """The cycles whose snapshots are past `snapshots.keep`, and those without a snapshot that are past counting."""
        keep = self.settings.source(source).snapshots.keep if source in self.settings.sources else 1
        committed = self.catalog.cycles(source, status=["committed"], whole=True)
        ended = ["unchanged", "failed", "rejected", "superseded"]
        past = self.catalog.cycles(source, status=ended, skip=ENDED_CYCLES_KEPT)
        # A source that was unchanged in the window of a group is part of what the window's chain was taken over.
        chained = {window.commit_id for window in self.catalog.windows()} if past else set()
        forgotten = [entry.cycle for entry in past if entry.commit_id not in chained]
        return [entry.cycle for entry in committed[keep:]], forgotten

    @contextmanager
    def _claimed(self, moment: datetime, *, below: int) -> Iterator[tuple[list[Pin], list[ConsumerEntry]]]:
        """The living pins and the consumers that stand below an SCN, which stay so until the block ends."""
        if not self.consumers.exists():
            yield [], []
            return
        from differ.catalog.pins import live

        with self.consumers.writing() as connection:
            yield live(connection, moment), self.consumers.laggards(connection, below)

    def sweep(self, source: str) -> int:
        """Remove files of a source that no retained or held cycle and no event refers to; returns bytes.

        The caller holds the source's lock, so nothing that is still being written can be hit.
        """
        folders, files = self._referenced(source)
        removed = remove_tree(self.state / "spill" / source)
        for folder in _children(self.snapshots / source):
            if folder.name not in folders and self._is_ours(_FOLDER, folder.name):
                removed += remove_tree(folder) if folder.is_dir() else remove_file(folder)
        for kind in ("segments", "absent", "sums"):
            for path in _children(self.state / kind / source):
                if path.relative_to(self.state).as_posix() not in files and self._is_ours(_FILE, path.name):
                    removed += remove_file(path)
        if removed:
            log.info("sweep source=%s bytes=%d", source, removed)
        return removed

    def foreign(self, source: str) -> dict[str, int]:
        """How many finished cycles of other streams lie in the source's folder, by the beginning of the stream's id."""
        marks = [
            found["mark"]
            for folder in _children(self.snapshots / source)
            if (found := _FOLDER.fullmatch(folder.name)) and (folder / "manifest.json").exists()
        ]
        return {mark: marks.count(mark) for mark in marks if mark != self.mark}

    def check_foreign(self, source: str) -> None:
        """Raise StorageError where another stream left its state and this catalog has none: it is most likely the
        wrong catalog, and going on would give every row a second time."""
        for mark, count in self.foreign(source).items():
            folder = self.snapshots / source
            raise StorageError(
                f"scan {source}: {folder} holds {count} cycles of stream {mark}, which this catalog does not know",
                hint="restore that stream's catalog, or mend storage.catalog; to begin anew, move the folder away",
            )

    def _is_ours(self, pattern: re.Pattern[str], name: str) -> bool:
        found = pattern.fullmatch(name)
        return found is not None and found["mark"] == self.mark

    def _referenced(self, source: str) -> tuple[set[str], set[str]]:
        folders: set[str] = set()
        files: set[str] = set()
        for entry in self.catalog.cycles(source, status=["committed", "held"], whole=True):
            assert entry.staged is not None  # noqa: S101
            if entry.status == "held":
                files.update(segment.file.path for segment in entry.staged.segments)
            if entry.staged.absent is not None:
                files.add(entry.staged.absent.path)
            if entry.status == "held" and entry.staged.sums is not None:
                files.add(entry.staged.sums.file.path)
            if entry.staged.manifest is not None:
                manifest = self.manifest(entry)
                folders.add(_folder(entry.staged.manifest.path))
                folders.update(_folder(file.path) for file in manifest.files)
        current = self.catalog.source(source)
        if current is not None and current.absent is not None:
            files.add(current.absent.path)
        if current is not None and (sums := self.kept_sums(current)) is not None:
            files.add(sums.file.path)
        files.update(segment.file.path for segment in self.catalog.segments(sources=[source]))
        return folders, files


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _folder(path: str) -> str:
    return path.split("/")[1]
