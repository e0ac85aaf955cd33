"""The fingerprint index: for every live key its key hash, row hash and location, in sorted runs.

    positions   0 ............ base ............ n | first delta ... | second delta ... |
    alive       1 1 0 1 1 ...                        1 0 1 ...         1 1 ...

A cycle that changes little adds a small run and leaves the others as they are: what it writes is proportional to what
changed. An entry of a later run may take the place of one of an earlier run; the one that it replaces is dead, and so
is the entry of a deleted key. So a key has at most one living entry, and it does not matter in which order runs are
looked through. Almost every key of a scan is found in the base; only what is not is looked for in the deltas.

Comparing reads the index alone: it is memory-mapped, and its anonymous memory is two bits an entry.
Source: LSM trees (O'Neil et al., 1996); sort-merge join on hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from differ.records.fingerprints import Fingerprints
from differ.snapshots.bits import Bits, Mask
from differ.snapshots.entries import NONE
from differ.snapshots.run import ABSENT, IndexRange, Matches, Positions, Run, Unsigned, open_run
from differ.storage import StoredFile

_BLOCK_ROWS = 1 << 20


class Index:
    """An open index of one base run and the deltas after it, oldest first. Positions are numbered through all runs.

    size: how many positions there are; rows: how many of them are alive. replaced: the entries that a later one took
    the place of. alive: those that are neither replaced nor of a deleted key; None when all are.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self.base, self.deltas = self.runs[0], self.runs[1:]
        self.schema = self.base.schema
        self.size = sum(run.size for run in self.runs)
        self.alive: Bits | None = None
        self.replaced = Bits(self.size if self.deltas else 0)
        if self.deltas:
            self.alive = self._living()
        self.rows = self.size if self.alive is None else self.alive.count()

    def match(self, fingerprints: Fingerprints, seen: Bits) -> Matches:
        """Where each key stands, whether its row is another, and whether the key was seen; marks them in `seen`."""
        found = self.base.match(fingerprints, self.alive, seen)
        left = np.flatnonzero(found.positions == ABSENT) if self.deltas else found.positions[:0]
        for run in self.deltas:
            if not len(left):
                break
            rest = run.match(fingerprints.take(left), self.alive, seen)
            for name in ("positions", "moved", "again"):
                getattr(found, name)[left] = getattr(rest, name)
            left = left[rest.positions == ABSENT]
        return found

    def probe(self, fingerprints: Fingerprints) -> Positions:
        """The position of each key, ABSENT where there is none; aligned with the fingerprints."""
        return self.match(fingerprints, Bits(self.size)).positions

    def gather(self, positions: Positions, name: str) -> Unsigned:
        """The values of a hash or location column at these positions (none of them ABSENT)."""
        if not self.deltas:
            return self.base.gather(positions, name)
        out = np.empty(len(positions), dtype=np.uint64)
        for run, chosen in self._by_run(positions):
            out[chosen] = run.gather(positions[chosen], name)
        return out

    def gather_arrow(self, positions: Positions, name: str) -> pa.Array:
        """The values of a tolerated column at these positions."""
        if not self.deltas:
            return self.base.gather_arrow(positions, name)
        pieces, places = [], []
        for run, chosen in self._by_run(positions):
            places.append(np.flatnonzero(chosen))
            pieces.append(run.gather_arrow(positions[chosen], name))
        if not pieces:
            return pa.array([], type=self.schema.field(name).type)
        return pa.concat_arrays(pieces).take(pa.array(np.argsort(np.concatenate(places))))

    def between(self, first: int, last: int) -> Iterator[IndexRange]:
        """Slices of all runs whose key_hi lies in first..last, ascending within a run; dead entries too."""
        for run in self.runs:
            yield from run.between(first, last)

    def blocks(self) -> Iterator[IndexRange]:
        """All entries in blocks of bounded size; dead ones too."""
        for run in self.runs:
            for part in run.ranges.values():
                for start in range(0, part.entries.num_rows, _BLOCK_ROWS):
                    yield IndexRange(part.offset + start, part.entries.slice(start, _BLOCK_ROWS))

    def living(self, part: IndexRange) -> Mask | None:
        """Which entries of a slice are alive, None when all are."""
        if self.alive is None:
            return None
        return self.alive.mask(part.offset, part.offset + part.entries.num_rows)

    def live(self, part_rows: int, dead: Bits | None = None) -> Mask | None:
        """By location: which rows are alive, None when all are. dead: positions to leave out."""
        if self.rows == part_rows and dead is None:
            return None
        alive = np.zeros(part_rows, dtype=bool)
        for part in self.blocks():
            chosen = self.living(part)
            if dead is not None:
                kept = ~dead.mask(part.offset, part.offset + part.entries.num_rows)
                chosen = kept if chosen is None else chosen & kept
            locations = part.column("loc")
            alive[locations if chosen is None else locations[chosen]] = True
        return alive

    def _living(self) -> Bits:
        alive = Bits.full(self.size)
        for run in self.deltas:
            for part in run.ranges.values():
                replaces = part.column("replaces")
                self.replaced.add(replaces[replaces != NONE].astype(np.int64))
                gone = np.flatnonzero(part.column("loc") == NONE)
                alive.remove(gone + part.offset)
        return alive.without(self.replaced)

    def _by_run(self, positions: Positions) -> Iterator[tuple[Run, Mask]]:
        for run in self.runs:
            chosen = (positions >= run.first) & (positions < run.first + run.size)
            if chosen.any():
                yield run, chosen


def open_index(root: Path, file: StoredFile, source: str, *, deltas: Sequence[StoredFile] = ()) -> Index:
    """Memory-map an index after verifying the hashes of its files; raises CorruptionError."""
    runs: list[Run] = []
    first = 0
    for stored in (file, *deltas):
        runs.append(open_run(root, stored, source, first=first))
        first += runs[-1].size
    return Index(runs)
