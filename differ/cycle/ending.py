"""End a held cycle: a person approves or rejects what a guard kept.

A held cycle is bound to its base cycle and its hash. Where its source belongs to a consistency group, the whole window
is ended together.
"""

from __future__ import annotations

from contextlib import suppress

from differ.catalog import CycleEntry
from differ.catalog.commit import Proposal, commit
from differ.catalog.locks import source_locks
from differ.cycle.place import Place
from differ.errors import CorruptionError, DifferError, HeldError, UsageError
from differ.model import CycleResult
from differ.snapshots.manifest import read_manifest
from differ.storage import verify


def approve(
    place: Place, source: str, *, cycle: int | None = None, hash: str | None = None, wait: bool = False
) -> list[CycleResult]:
    """Commit the held cycle of a source, with its window. cycle, hash: what the caller saw; None takes what is held.
    wait: for a scan of the source that runs; it may find something else, and then nothing is committed.

    Raises HeldError when something else is held, the state moved on, or a part of its window ended otherwise;
    CorruptionError when its files are damaged.
    """
    entries = _held(place, source, cycle, hash)
    with source_locks(place.catalog, place.locks, [entry.source for entry in entries], wait=wait):
        entries = _held(place, source, cycle, hash)
        _check_whole(place, entries[0])
        proposals = [_proposal(place, entry) for entry in entries]
        bodies = commit(place.catalog, entries[0].commit_id, proposals)
        for entry in entries:
            with suppress(DifferError):  # the commit stands; what could not be swept is swept at the next begin
                place.retire(entry.source)
    return [CycleResult.from_json(body) for body in bodies]


def reject(
    place: Place, source: str, *, cycle: int | None = None, hash: str | None = None, wait: bool = False
) -> list[CycleResult]:
    """Throw the held cycle of a source away, with its window; the next scan compares with the same base."""
    entries = _held(place, source, cycle, hash)
    with source_locks(place.catalog, place.locks, [entry.source for entry in entries], wait=wait):
        results = []
        for entry in _held(place, source, cycle, hash):
            body = {**entry.result, "status": "rejected"}
            place.catalog.end_cycle(entry.source, entry.cycle, "rejected", body)
            place.sweep(entry.source)
            results.append(CycleResult.from_json(body))
    return results


def _held(place: Place, source: str, cycle: int | None, hash: str | None) -> list[CycleEntry]:
    if source not in place.settings.sources and place.catalog.source(source) is None:
        place.settings.source(source)
    held = place.catalog.held(source)
    if cycle is not None and (held is None or held.cycle != cycle):
        known = [entry for entry in place.catalog.cycles(source) if entry.cycle == cycle]
        if not known:
            raise UsageError(f"end held cycle {source}/{cycle}: there is no such cycle", hint="see 'differ status'")
        now = "nothing is held now"
        if held is not None:
            same = held.result.get("hash") == known[0].result.get("hash")
            now = f"cycle {held.cycle} is held now, with {'the same' if same else 'other'} changes"
        raise HeldError(
            f"end held cycle {source}/{cycle}: it is {known[0].status}; {now}", hint="look at 'differ status' again"
        )
    if held is None:
        raise UsageError(f"end held cycle of {source}: nothing is held", hint="see 'differ status'")
    entries = place.catalog.cycles(status=["held"], commit_id=held.commit_id)
    entries.sort(key=lambda entry: entry.source)
    if hash is not None and hash != held.result.get("hash"):
        raise HeldError(
            f"end held cycle {source}/{held.cycle}: its hash is {held.result.get('hash')}, not {hash}",
            hint="look at 'differ status' again: what is held is not what you saw",
        )
    return entries


def _check_whole(place: Place, held: CycleEntry) -> None:
    """A window is committed whole or not at all: raise HeldError when another source's part of it ended by itself."""
    for entry in place.catalog.cycles(commit_id=held.commit_id):
        if entry.status != "held":
            raise HeldError(
                f"approve {held.source}/{held.cycle}: the part of {entry.source!r} in its window is {entry.status}",
                hint=f"run 'differ reject --source {held.source}', then scan it again",
            )


def _proposal(place: Place, entry: CycleEntry) -> Proposal:
    if entry.staged is None:
        raise CorruptionError(f"approve {entry.source}/{entry.cycle}: the catalog lost what it wrote")
    what = f"held cycle {entry.source}/{entry.cycle}"
    if entry.staged.manifest is not None:
        for file in read_manifest(place.snapshots, entry.staged.manifest, entry.source).files:
            verify(place.snapshots, file, what)
    for segment in entry.staged.segments:
        verify(place.state, segment.file, what)
    current = place.catalog.take_epoch(entry.source)
    return Proposal(
        source=entry.source,
        cycle=entry.cycle,
        epoch=current.epoch,
        base_cycle=entry.base_cycle,
        staged=entry.staged,
        result={k: v for k, v in entry.result.items() if k not in ("reason", "hash", "exit_code")},
    )
