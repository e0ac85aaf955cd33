"""Which key ranges a cycle reads: `scan: checksum`.

    kept sums of the state that is compared with, made by the rules of now?       no: read everything, then sum
    the server's sums now, in the snapshot that is read                           none: read everything
    ranges whose sums moved: few enough, and the state agrees with the rest?      no: read everything; the sums stand
    read only these; the rows of all others are as they were

The sums of a cycle are staged with it, so a held cycle has its own and a failed one leaves none. They are trusted only
while the cycle they belong to, or an unchanged one after it, is the newest: they describe the state as it is.

Source: anti-entropy in Dynamo (DeCandia et al., 2007); the segments of data-diff and reladiff, between two moments
instead of two servers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from differ.catalog import SourceEntry
from differ.catalog.entries import StagedSums
from differ.config import SourceSettings
from differ.cycle.ground import Ground
from differ.cycle.place import Place
from differ.diff.compare import Comparison
from differ.diff.encoding import Encoding
from differ.diff.ranges import KeyedState, read_sums, write_sums
from differ.errors import CorruptionError, IteratorError
from differ.executors import ReaderThread
from differ.iterators.ranges import KeyRanges, RangeSums, range_rows_for
from differ.iterators.scan import Scan
from differ.snapshots.bits import Mask
from differ.storage import StoredFile, ensure_folder, remove_file

log = logging.getLogger(__name__)


class RangePlan:
    """The ranges of one cycle. reason: why all rows were read; None where only some were, and where `scan: full`.

    ranges, ranges_read: how many there are and how many were read, None where all rows were.
    """

    def __init__(self, place: Place, settings: SourceSettings, entry: SourceEntry, ground: Ground) -> None:
        self._place, self._settings, self._ground = place, settings, ground
        self._limits = settings.checksum
        self._wanted = settings.scan == "checksum"
        self._kept = place.kept_sums(entry) if self._wanted else None
        self._before: RangeSums | None = None
        self._now: RangeSums | None = None
        self._unread: Mask | None = None
        self._written: StoredFile | None = None
        self.reason: str | None = None
        self.ranges: int | None = None
        self.ranges_read: int | None = None

    @property
    def range_rows(self) -> int | None:
        """How many rows a range should hold; None where no sums are wanted."""
        rows = self._ground.previous.rows if self._ground.previous is not None else 0
        return range_rows_for(rows, self._limits.range_rows) if self._wanted else None

    def look(self, thread: ReaderThread, scan: Scan) -> None:
        """Ask for the sums and decide which ranges the scan reads; called before its first batch."""
        if not self._wanted:
            return
        self.reason = self.distrust() or self._look(thread, scan)
        if self.reason is not None:
            log.info("source=%s: all rows are read: %s", self._settings.name, self.reason)

    def distrust(self) -> str | None:
        """Why no kept sums can be used, whatever the server says; None where they may be."""
        old, kept = self._ground.old, self._kept
        if self._ground.previous is None:
            return "the first cycle reads all rows"
        if old is None:
            return "a new base is made of all rows"
        if kept is None:
            return "no checksums are kept with the last cycle"
        if kept.partial + 1 >= self._limits.full_every:
            return f"every {self._limits.full_every} cycles all rows are read (checksum.full_every)"
        columns = self._settings.columns
        encoding = Encoding(
            schema=old.schema,
            ignore=frozenset(columns.ignore) & set(old.schema.names),
            tolerance={name: value for name, value in columns.tolerance.items() if name in old.schema.types},
        )
        if kept.rules != self._rules() or old.manifest.encoding != encoding.to_json():
            return "the rules of the source's columns, the width of ranges or the encoder changed"
        if old.schema.types[old.schema.key[0]].kind != "int":
            return "the state's first key column is no integer"
        return None

    def _look(self, thread: ReaderThread, scan: Scan) -> str | None:
        assert self._ground.old is not None  # noqa: S101
        assert self._kept is not None  # noqa: S101
        source = self._settings.name
        try:
            before = read_sums(self._place.state, self._kept.file, source)
        except CorruptionError as error:
            log.warning("source=%s: %s; all rows are read instead", source, error.message)
            return "the kept checksums are damaged"
        asked = thread.start(lambda: scan.sums(before))
        with self._ground.old.reading():
            state = KeyedState(self._ground.old)
        found = asked()
        if isinstance(found, str):
            return found
        dirty = found.moved(before)
        rows = max(found.count(dirty), before.count(dirty))
        self._before, self._now = before, found
        if rows > self._limits.moved_max * max(found.rows, before.rows):
            return f"{rows} rows lie in ranges that moved, past {self._limits.moved_max:.0%} (checksum.moved_max)"
        with self._ground.old.reading():
            self._unread = state.unread(before, dirty)
        if self._unread is None:
            log.warning("source=%s: the kept checksums do not count the rows of the state", source)
            return "the kept checksums do not count the rows of the state"
        scan.only = KeyRanges(shift=found.shift, ids=dirty)
        self.ranges, self.ranges_read = len(found.ids), len(dirty)
        return None

    def count_unread(self, comparison: Comparison) -> None:
        """Tell the comparison of the rows that are not read."""
        if self._unread is not None:
            comparison.assume_unchanged(self._unread)

    def settle(self, thread: ReaderThread, scan: Scan, *, rows: int, waiting: int) -> None:
        """Have the sums of what was read, all of whose batches were given; called before staging.

        rows: of the source. waiting: keys whose delete waits; the state then is not what the sums describe.
        Raises IteratorError where some ranges were read and gave other rows than were summed.
        """
        if not self._wanted or waiting:
            self._now = None
            return
        if self._now is None:
            found = thread.call(lambda: scan.sums(None))
            if isinstance(found, str):
                self.reason = found
                log.info("source=%s: no checksums: %s", self._settings.name, found)
                return
            self._now = found
        if self._now.rows == rows:
            return
        told = f"{self._now.rows} rows were summed and {rows} read"
        if self.reason is None:
            raise IteratorError(
                f"scan {self._settings.name}: {told}, in one snapshot",
                hint="the source gives other rows when it is asked twice; use 'scan: full'",
            )
        log.warning("source=%s: no checksums are kept: %s", self._settings.name, told)
        self._now = None

    def stage(self, name: str) -> StagedSums | None:
        """Keep the sums under this name; where no range moved, the file that is there is good."""
        if self._now is None:
            return None
        if self._kept is not None and self._before is not None and _same(self._now, self._before):
            file = self._kept.file
        else:
            folder = ensure_folder(self._place.state / "sums" / self._settings.name)
            file = self._written = write_sums(self._now, folder / f"{name}.arrow", self._place.state)
        partial = 0 if self._kept is None or self.reason is not None else self._kept.partial + 1
        return StagedSums(file=file, rules=self._rules(), partial=partial)

    def discard(self) -> None:
        """Remove what `stage` wrote."""
        if self._written is not None:
            remove_file(Path(self._place.state / self._written.path))

    def _rules(self) -> str:
        """A hash over what is configured and neither the iterator nor the encoding knows of."""
        columns = self._settings.columns
        body: list[Any] = [sorted(columns.exclude), sorted(columns.mask.items()), self._limits.range_rows]
        secret = (self._settings.mask_key or "").encode() if columns.mask else b""
        return hashlib.sha256(json.dumps(body).encode() + b"\0" + secret).hexdigest()


def _same(one: RangeSums, other: RangeSums) -> bool:
    arrays = ((one.ids, other.ids), (one.counts, other.counts), (one.sums, other.sums))
    return one.basis == other.basis and all(np.array_equal(left, right) for left, right in arrays)
