"""Which windows the relay lets go: the oldest first, whole windows only, by age and by size.

Invariant: what is kept is a suffix of the stream, so one number, the oldest SCN, says what can still be read. Files are
removed later, by the sweep that runs under each source's lock, when nothing refers to them any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from differ.catalog import Catalog, SegmentEntry, WindowEntry
from differ.config import RetentionSettings

PAGE_WINDOWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """What `retain` left: the oldest SCN that can be read (head + 1 when nothing can), and how many windows went."""

    oldest_scn: int
    removed: int


def retain(catalog: Catalog, settings: RetentionSettings, moment: datetime) -> Retained:
    """Let go of windows older than `age`, and of the oldest while all are larger than `size`. Idempotent.

    Cost: one page of windows, and another for each page that goes; not what is kept.
    """
    removed = 0
    total = catalog.segment_bytes()
    while windows := catalog.windows(limit=PAGE_WINDOWS):
        segments = catalog.segments(until=windows[-1].last)
        newer_bytes = total - sum(segment.file.bytes for segment in segments)
        last = expired(windows, segments, settings, moment, newer_bytes=newer_bytes)
        if last is None:
            break
        catalog.let_windows_go(last)
        removed += sum(window.last <= last for window in windows)
        if last < windows[-1].last:
            break
        total = newer_bytes
    return Retained(oldest_scn=catalog.oldest_scn(), removed=removed)


def expired(
    windows: Sequence[WindowEntry],
    segments: Sequence[SegmentEntry],
    settings: RetentionSettings,
    moment: datetime,
    *,
    newer_bytes: int = 0,
) -> int | None:
    """The last SCN of the last window to let go, None for none. Pure. newer_bytes: of windows beyond the given ones."""
    sizes: dict[int, int] = {}
    for segment in segments:
        sizes[segment.window_first] = sizes.get(segment.window_first, 0) + segment.file.bytes
    total = sum(sizes.values()) + newer_bytes
    oldest_moment = moment - timedelta(seconds=settings.age_seconds)
    last = None
    for window in windows:
        if window.committed_at >= oldest_moment and total <= settings.size_bytes:
            break
        total -= sizes.get(window.first, 0)
        last = window.last
    return last
