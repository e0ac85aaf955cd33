"""Care for what lies on disk: write a new base now, sweep, and mend by quarantine.

Repairing never invents: what is damaged is moved to `<state>/quarantine`, the catalog stops referring to it, and
whoever needs it is told (a consumer behind lost events bootstraps, a source without a state makes a new base).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from differ.catalog import SegmentEntry
from differ.catalog.catalog import now
from differ.catalog.commit import Proposal, commit
from differ.catalog.consumer_damage import consequence, forget
from differ.catalog.entries import Staged, to_text
from differ.catalog.locks import source_locks
from differ.cycle.check import Finding
from differ.cycle.place import Place
from differ.diff.changes import ChangeWriter, Places
from differ.diff.compare import Comparison
from differ.diff.encoding import Encoding, refingerprint
from differ.errors import BusyError, CorruptionError, DifferError, HeldError, UsageError
from differ.model import CycleResult
from differ.snapshots.snapshot import Snapshot
from differ.storage import StoredFile, ensure_folder, remove_tree
from differ.storage.files import rename, storage_errors, sync_folder


def compact(place: Place, source: str, *, wait: bool = False) -> CycleResult:
    """Write the current state as one new base, without events; a cycle of its own that changes no row.

    Raises UsageError before the first cycle, BusyError while the source is being scanned, HeldError while a guard holds
    a cycle, which could not be approved on another base.
    """
    with source_locks(place.catalog, place.locks, [source], wait=wait):
        snapshot = place.snapshot(source)
        held = place.catalog.held(source)
        if held is not None:
            raise HeldError(
                f"compact {source}: cycle {held.cycle} is held, and was compared with the base that is there",
                hint=f"end it first: 'differ approve --source {source}' or 'differ reject --source {source}'",
            )
        commit_id = str(uuid.uuid4())
        entry, cycle = place.catalog.begin_cycle(source, commit_id)
        places = place.places(source, cycle)
        try:
            staged, changes = _rewrite(place, source, cycle, snapshot, places)
            result = CycleResult(source=source, cycle=cycle, status="committed", rows=snapshot.rows)
            proposal = Proposal(
                source=source,
                cycle=cycle,
                epoch=entry.epoch,
                base_cycle=entry.current,
                staged=Staged(
                    manifest=staged,
                    segments=(),
                    schema=snapshot.schema,
                    schema_changes=changes,
                    absent=entry.absent,
                    position=entry.position,
                    baseline=False,
                    floor=False,
                    seen_at=to_text(entry.seen_at or now()),
                    detected_at=to_text(entry.seen_at or now()),
                    sums=place.kept_sums(entry),
                ),
                result=result.to_json(),
                scanned=False,
            )
            body = commit(place.catalog, commit_id, [proposal])[0]
        except BaseException:
            with suppress(DifferError):
                remove_tree(places.folder)
                failed = {"source": source, "cycle": cycle, "status": "failed"}
                place.catalog.end_cycle(source, cycle, "failed", failed, scanned=False)
            raise
        finally:
            with suppress(DifferError):
                remove_tree(places.spill)
        size = sum(path.stat().st_size for path in places.folder.iterdir())
        place.retire(source)
    return CycleResult(
        source=source, cycle=cycle, status="committed", rows=snapshot.rows, schema=body["schema"], bytes_written=size
    )


def _rewrite(
    place: Place, source: str, cycle: int, snapshot: Snapshot, places: Places
) -> tuple[StoredFile, tuple[str, ...]]:
    """The new base's manifest, and what it changes in the encoding: an older encoder's hashes are made anew."""
    encoding = Encoding.of(snapshot)
    index, changes = snapshot.index, encoding.encoder_changes(snapshot.manifest.encoding)
    if encoding.layout != snapshot.manifest.encoding["layout"]:
        index = refingerprint(snapshot, encoding, ensure_folder(places.spill), budget_bytes=place.budget_bytes)
    comparison = Comparison(source, index, encoding)
    writer = ChangeWriter(
        source,
        cycle,
        places,
        encoding,
        previous=snapshot,
        index=index,
        rebase=True,
        emit=False,
        budget_bytes=place.budget_bytes,
    )
    with writer:
        return writer.finish(comparison, np.zeros(0, dtype=np.int64))[0], changes


def gc(place: Place) -> int:
    """Sweep what nothing refers to, of every source that is not being scanned now; returns the bytes removed."""
    removed = 0
    known = {entry.name for entry in place.catalog.sources()}
    folders = [place.snapshots, *(place.state / kind for kind in ("segments", "absent", "sums", "spill"))]
    found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    for source in sorted(known | found):
        with suppress(BusyError), source_locks(place.catalog, place.locks, [source]):
            place.catalog.fail_unfinished(source)
            removed += place.sweep(source)
    return removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """One step of a repair plan, in words, for one finding."""

    finding: Finding
    step: str
    possible: bool


def plan(place: Place, findings: Sequence[Finding]) -> list[Mending]:
    """What `repair` would do for these findings; changes nothing."""
    return [_plan_one(place, finding) for finding in findings]


def repair(place: Place, mendings: Sequence[Mending]) -> Path:
    """Carry out the possible steps of a plan; returns the quarantine's folder. Idempotent.

    Raises BusyError while a source concerned is being scanned.
    """
    folder = ensure_folder(place.state / "quarantine" / f"{to_text(now()).replace(':', '')}-{uuid.uuid4().hex[:8]}")
    chosen = [mending.finding for mending in mendings if mending.possible]
    with source_locks(place.catalog, place.locks, sorted({f.source for f in chosen if f.source})):
        needed = _needed(place, chosen)
        for finding in chosen:
            _mend(place, finding, folder, needed)
    return folder


_LOST = {
    "absent": "quarantine the record of keys that {0.source} missed once: they wait anew until they are missed again",
    "sums": "quarantine the checksums of {0.source}: its next scan reads all rows",
    "dead letters": "quarantine {0.path}: what is to be saved of it can be put back by hand",
}
"""What is given up of a file that nothing else says the content of."""


def _plan_one(place: Place, finding: Finding) -> Mending:
    source, cycle = finding.source, finding.cycle
    if finding.part == "segment" and source and finding.first_scn is not None:
        last = _segment(place, finding).last_scn
        step = (
            f"quarantine the events {finding.first_scn}..{last} of {source} and raise its floor to {last}: "
            f"consumers that did not pass them bootstrap"
        )
        return Mending(finding=finding, step=step, possible=True)
    if finding.part == "held":
        return Mending(finding=finding, step=f"reject the held cycle {source}/{cycle}", possible=True)
    if finding.part == "snapshot" and source:
        entry = place.catalog.source(source)
        if entry is not None and entry.current == cycle:
            step = (
                f"quarantine the current state of {source}; its next scan makes a new base without events, and its "
                f"consumers bootstrap"
            )
        else:
            step = f"quarantine the older snapshot {source}/{cycle}, but for files that others are built on"
        return Mending(finding=finding, step=step, possible=True)
    if finding.part in _LOST:
        return Mending(finding=finding, step=_LOST[finding.part].format(finding), possible=True)
    if finding.part == "consumers":
        if finding.record is not None:
            return Mending(finding=finding, step=consequence(finding.record), possible=True)
        if place.consumers.path is not None:
            step = "quarantine the consumers' database: consumers whose checkpoints lie there bootstrap"
            return Mending(finding=finding, step=step, possible=True)
    return beyond_repair(finding)


def beyond_repair(finding: Finding) -> Mending:
    """What is left to a person: the catalog says what everything else is."""
    step = "restore the catalog from a backup: what it said cannot be known from elsewhere"
    return Mending(finding=finding, step=step, possible=False)


def _needed(place: Place, findings: Sequence[Finding]) -> set[str]:
    """The files of snapshots that stay, for cycles build on the files of those before them."""
    lost = {(finding.source, finding.cycle) for finding in findings if finding.cycle is not None}
    needed: set[str] = set()
    for source in {finding.source for finding in findings if finding.source and finding.part == "snapshot"}:
        for entry in place.catalog.cycles(source, status=["committed", "held"], whole=True):
            if (source, entry.cycle) not in lost and entry.staged and entry.staged.manifest:
                needed.update(file.path for file in (entry.staged.manifest, *place.manifest(entry).files))
    return needed


def _mend(place: Place, finding: Finding, folder: Path, needed: set[str]) -> None:
    source = finding.source
    if finding.part == "consumers":
        _mend_consumers(place, finding, folder)
        return
    if finding.part in _LOST and finding.path is not None:
        if finding.part == "absent" and source is not None:
            place.catalog.forget_absent(source)
        _move(finding.path, folder)
        return
    if source is None:
        raise UsageError("repair: the finding names no source", hint="run 'differ check' again")
    if finding.part == "segment" and finding.first_scn is not None:
        segment = _segment(place, finding)
        _move(place.state / segment.file.path, folder)
        place.catalog.lose_segment(segment)
        return
    assert finding.cycle is not None  # noqa: S101
    entry = place.catalog.cycle(source, finding.cycle)
    if finding.part == "held":
        place.catalog.end_cycle(source, finding.cycle, "rejected", {**entry.result, "status": "rejected"})
    elif entry.staged is not None and entry.staged.manifest is not None:
        for path in sorted((place.snapshots / entry.staged.manifest.path).parent.iterdir()):
            if path.relative_to(place.snapshots).as_posix() not in needed:
                _move(path, folder)
        place.catalog.lose_snapshot(source, finding.cycle)


def _mend_consumers(place: Place, finding: Finding, folder: Path) -> None:
    if finding.record is not None:
        with place.consumers.writing() as connection:
            forget(connection, finding.record)
    elif place.consumers.path is not None:
        for path in sorted(place.state.glob(f"{place.consumers.path.name}*")):
            _move(path, folder)


def _segment(place: Place, finding: Finding) -> SegmentEntry:
    assert finding.first_scn is not None  # noqa: S101
    assert finding.source is not None  # noqa: S101
    found = place.catalog.segments(finding.first_scn - 1, finding.first_scn, sources=[finding.source])
    if not found:
        raise CorruptionError(f"repair: the catalog has no segment at SCN {finding.first_scn}")
    return found[0]


def _move(path: Path, folder: Path) -> None:
    with storage_errors("quarantine", path):
        if path.exists():
            rename(path, folder / f"{path.parent.name}-{path.name}")
            return
        # A repair that was killed may have moved it, and died before that was durable.
        for place in (path.parent, *folder.parent.iterdir()):
            if place.is_dir():
                sync_folder(place)
