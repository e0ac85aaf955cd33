"""The snapshots that pins hold, opened for their pages, and the cursors of those pages.

A page cursor is bound to its pin, its source and the manifest of the pinned snapshot, so that it can never be taken for
a place in other rows; it is opaque to clients, and carries a checksum, so that one that was cut or mistyped is refused.
Invariant: a location that leaves here is one that `SnapshotPages.read` may begin at.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import xxhash

from differ.catalog import CycleEntry
from differ.catalog.entries import to_moment
from differ.catalog.pins import Pin
from differ.cycle.place import Place
from differ.errors import BootstrapGoneError, NotKeptError, UsageError
from differ.formats.partitions import Partitions
from differ.server.problems import NotFoundError
from differ.snapshots.pages import Page, Pinned, RowGroups, SnapshotPages
from differ.snapshots.snapshot import Snapshot

OPEN_SNAPSHOTS = 32
"""Of how many snapshots it is remembered which rows are alive (one bit a row) and which parts were verified."""
_CHECK_BYTES = 8


@dataclass(frozen=True, slots=True)
class PageCursor:
    """A place in the rows of one source of one pin."""

    pin: str
    source: str
    manifest: str
    location: int

    @property
    def text(self) -> str:
        """The opaque text; safe in a URL."""
        body = json.dumps([self.pin, self.source, self.manifest, self.location], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(xxhash.xxh3_64_digest(body) + body).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> PageCursor:
        """Read `text`; raises UsageError when it is none."""
        try:
            whole = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            check, body = whole[:_CHECK_BYTES], whole[_CHECK_BYTES:]
            if xxhash.xxh3_64_digest(body) != check:
                raise ValueError(check)
            pin, source, manifest, location = json.loads(body)
        except (ValueError, binascii.Error, UnicodeEncodeError) as error:
            raise UsageError(
                f"read page cursor {text[:80]!r}: it is none", hint="send back what 'Differ-Cursor' gave, unchanged"
            ) from error
        return cls(pin, source, manifest, location)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A snapshot as all pins that hold it see it."""

    manifest: str
    pages: SnapshotPages
    schema_id: int
    detected_at: datetime


class PinnedSource:
    """One source of a pin. A source that had no cycle yet when it was pinned has no rows."""

    def __init__(self, pin: Pin, source: str, cycle: int, opened: _Opened | None) -> None:
        self.pin, self.source = pin, source
        self._cycle, self._opened = cycle, opened
        self._manifest = opened.manifest if opened is not None else ""

    @property
    def end(self) -> int:
        """The location after the last row."""
        return 0 if self._opened is None else self._opened.pages.end

    def after(self, start: int, limit: int | None) -> int:
        """The location after the next `limit` rows from `start` on (None: all that follow)."""
        return 0 if self._opened is None else self._opened.pages.after(start, limit)

    def read(self, start: int, end: int, partitions: Partitions | None, *, page_bytes: int) -> Iterator[Page]:
        """The rows at start..end-1 that are in the partitions, in pages of about so many bytes, none of which is empty.

        Raises CorruptionError for damaged files, BootstrapGoneError where the snapshot was let go all the same.
        """
        if self._opened is None:
            return
        pinned = Pinned(
            stream=self.pin.cursor.stream,
            scn=self.pin.scn,
            source=self.source,
            cycle=self._cycle,
            schema_id=self._opened.schema_id,
            detected_at=self._opened.detected_at,
        )
        try:
            yield from self._opened.pages.read(start, end, pinned, partitions, page_bytes=page_bytes)
        except NotKeptError as error:
            raise _gone(self.pin, self.source) from error

    def partitions(self, text: str | None) -> Partitions | None:
        """The pin's partitions (None: all), or those of them that are asked for; raises UsageError for others."""
        pinned = None if self.pin.partition is None else Partitions.parse(self.pin.partition)
        if text is None:
            return pinned
        asked = Partitions.parse(text)
        if pinned is not None and not (asked.count == pinned.count and set(asked.chosen) <= set(pinned.chosen)):
            raise UsageError(
                f"bootstrap {self.pin.id}: partition {text!r} is not part of {pinned.text!r}, which it was begun for",
                hint="leave the parameter out, or begin another bootstrap",
            )
        return asked

    def location(self, cursor: str | None) -> int:
        """The location that a page cursor stands for (None: the beginning).

        Raises UsageError for a foreign one, BootstrapGoneError where the pinned snapshot is not the one that it is of.
        """
        if cursor is None:
            return 0
        found = PageCursor.parse(cursor)
        if (found.pin, found.source) == (self.pin.id, self.source) and found.manifest != self._manifest:
            raise _gone(self.pin, self.source)  # The store was restored from a backup: its cycle is another one now.
        if (found.pin, found.source) != (self.pin.id, self.source):
            raise UsageError(
                f"bootstrap {self.pin.id}: the page cursor is of bootstrap {found.pin}, source {found.source}",
                hint=f"go on where source {self.source} of this bootstrap stopped, or begin it without a cursor",
            )
        return found.location

    def cursor(self, location: int) -> str:
        """The page cursor at a location."""
        return PageCursor(self.pin.id, self.source, self._manifest, location).text


class PinnedSnapshots:
    """Opens what pins hold. May be used from any thread."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._groups = RowGroups()
        self._open: OrderedDict[tuple[str, int], _Opened] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, pin: Pin, source: str) -> PinnedSource:
        """The rows of one of the pin's sources.

        Cost: the first time the snapshot's manifest and, where rows are dead, its index are read and verified. Raises
        NotFoundError for a source that the pin does not hold, BootstrapGoneError where the snapshot was lost meanwhile.
        """
        if source not in pin.sources:
            raise NotFoundError(
                f"bootstrap {pin.id}: it has no source {source!r}", hint=f"its sources: {', '.join(pin.sources)}"
            )
        cycle = pin.sources[source]
        if cycle is None:
            return PinnedSource(pin, source, 0, None)
        with self._lock:
            found = self._open.get((source, cycle))
            if found is not None:
                self._open.move_to_end((source, cycle))
        if found is None:
            found = self._read(pin, source, cycle)
            with self._lock:
                self._open[source, cycle] = found
                while len(self._open) > OPEN_SNAPSHOTS:
                    self._open.popitem(last=False)
        return PinnedSource(pin, source, cycle, found)

    def describe(self, pin: Pin, source: str, cycle: int) -> tuple[int, int]:
        """How many rows a pinned state has, and the id of its schema; raises BootstrapGoneError."""
        entry = pinned_cycle(self._place, pin, source, cycle)
        assert entry.staged is not None  # noqa: S101
        assert entry.staged.manifest is not None  # noqa: S101
        return entry.staged.manifest.rows, entry.result["schema"]

    def _read(self, pin: Pin, source: str, cycle: int) -> _Opened:
        entry = pinned_cycle(self._place, pin, source, cycle)
        assert entry.staged is not None  # noqa: S101
        assert entry.staged.manifest is not None  # noqa: S101
        manifest = self._place.manifest(entry)
        snapshot = Snapshot(
            self._place.snapshots,
            manifest,
            scn=pin.scn,
            is_kept=lambda: _find(self._place, source, cycle) is not None,
        )
        return _Opened(
            manifest=entry.staged.manifest.hash[:16],
            pages=SnapshotPages(snapshot, self._groups),
            schema_id=entry.result["schema"],
            detected_at=to_moment(entry.staged.detected_at),
        )


def pinned_cycle(place: Place, pin: Pin, source: str, cycle: int) -> CycleEntry:
    """The catalog's row of a pinned cycle; raises BootstrapGoneError where a repair let go of its snapshot."""
    found = _find(place, source, cycle)
    if found is None:
        raise _gone(pin, source)
    return found


def _find(place: Place, source: str, cycle: int) -> CycleEntry | None:
    kept = place.catalog.cycles(source, status=["committed"], whole=True)
    return next((entry for entry in kept if entry.cycle == cycle), None)


def _gone(pin: Pin, source: str) -> BootstrapGoneError:
    return BootstrapGoneError(
        f"bootstrap {pin.id}: the snapshot of {source} is no longer kept",
        hint="begin a new one with POST /v1/bootstrap",
    )
