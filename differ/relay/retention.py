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


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """What `retain` left: the oldest SCN that can be read (head + 1 when nothing can), and how many windows went."""

    oldest_scn: int
    removed: int


def retain(catalog: Catalog, settings: RetentionSettings, moment: datetime) -> Retained:
    """Let go of windows older than `age`, and of the oldest while all are larger than `size`. Idempotent."""
    windows = catalog.windows()
    last = expired(windows, catalog.segments(), settings, moment)
    if last is not None:
        catalog.let_windows_go(last)
    kept = [window for window in windows if last is None or window.last > last]
    oldest = kept[0].first if kept else catalog.stream().head_scn + 1
    return Retained(oldest_scn=oldest, removed=len(windows) - len(kept))


def expired(
    windows: Sequence[WindowEntry], segments: Sequence[SegmentEntry], settings: RetentionSettings, moment: datetime
) -> int | None:
    """The last SCN of the last window to let go, None for none. Pure."""
    sizes: dict[int, int] = {}
    for segment in segments:
        sizes[segment.window_first] = sizes.get(segment.window_first, 0) + segment.file.bytes
    total = sum(sizes.values())
    oldest_moment = moment - timedelta(seconds=settings.age_seconds)
    last = None
    for window in windows:
        if window.committed_at >= oldest_moment and total <= settings.size_bytes:
            break
        total -= sizes.get(window.first, 0)
        last = window.last
    return last
