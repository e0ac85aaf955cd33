"""Change events as Python objects, made lazily: what `Project.events` and the client's callbacks are given.

Invariant: one `ChangeEvent` for each row of the batch, in SCN order, with Python's own values (Decimal,
datetime, UUID).
"""

from __future__ import annotations

from collections.abc import Iterator

from differ.formats.batch import EventBatch
from differ.formats.images import python_images
from differ.model import OPS, ChangeEvent


def change_events(batch: EventBatch) -> Iterator[ChangeEvent]:
    """Yield the batch's events as objects. Columns are converted some thousand rows at a time, so a reader
    that stops early does not pay for the rest."""
    codes = batch.events.column("op").to_pylist()
    changed = batch.events.column("changed").to_pylist()
    for scn, code, names, (key, before, after) in zip(batch.scns, codes, changed, python_images(batch), strict=True):
        yield ChangeEvent(
            stream=batch.stream,
            scn=scn,
            source=batch.source,
            op=OPS[code],
            key=key,
            before=before,
            after=after,
            changed=tuple(names),
            cycle=batch.cycle,
            window=batch.window,
            schema=batch.schema_id,
            seen_unchanged_at=batch.seen_unchanged_at,
            detected_at=batch.detected_at,
            baseline=batch.baseline,
        )
