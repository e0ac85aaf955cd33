"""Change events as Python objects, made lazily: what `Project.events` and the client's callbacks are given.

Invariant: one `ChangeEvent` for each row of the batch, in SCN order, with Python's own values (Decimal,
datetime, UUID).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from differ.formats.batch import EventBatch
from differ.formats.images import python_images
from differ.model import OPS, ChangeEvent, Op, Window


def change_events(batch: EventBatch) -> Iterator[ChangeEvent]:
    """Yield the batch's events as objects. Columns are converted some thousand rows at a time, so a reader
    that stops early does not pay for the rest."""
    codes = batch.events.column("op").to_pylist()
    changed = batch.events.column("changed").to_pylist()
    stream, source, cycle, window, schema = batch.stream, batch.source, batch.cycle, batch.window, batch.schema_id
    seen, detected, baseline = batch.seen_unchanged_at, batch.detected_at, batch.baseline
    for scn, code, names, (key, before, after) in zip(batch.scns, codes, changed, python_images(batch), strict=True):
        event: Any = _Draft(
            stream, scn, source, OPS[code], key, before, after, tuple(names), cycle, window, schema, seen, detected,
            baseline,
        )  # fmt: skip
        event.__class__ = ChangeEvent
        yield event


class _Draft:
    """A `ChangeEvent` that may still be written to: a frozen record takes four times as long to fill, which is a
    fifth of what a callback costs. Both have the same slots, so one becomes the other."""

    __slots__ = (
        "after", "baseline", "before", "changed", "cycle", "detected_at", "key", "op", "schema", "scn",
        "seen_unchanged_at", "source", "stream", "window",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        stream: str,
        scn: int,
        source: str,
        op: Op,
        key: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
        changed: tuple[str, ...],
        cycle: int,
        window: Window,
        schema: int,
        seen_unchanged_at: datetime | None,
        detected_at: datetime,
        baseline: bool,
    ) -> None:
        self.stream = stream
        self.scn = scn
        self.source = source
        self.op = op
        self.key = key
        self.before = before
        self.after = after
        self.changed = changed
        self.cycle = cycle
        self.window = window
        self.schema = schema
        self.seen_unchanged_at = seen_unchanged_at
        self.detected_at = detected_at
        self.baseline = baseline
