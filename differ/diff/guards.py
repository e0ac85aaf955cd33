"""Guards: a bad scan must never become a mass delete.

Each guard looks at the finished counts of a cycle and gives a reason to hold it, or nothing. A held cycle is kept whole
and a person ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from differ.config import GuardSettings
from differ.model import Position


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a cycle found. previous_rows: of the state it was compared with, None when there was none or a new base was
    asked for. replaced_rows: of the state that it replaces, 0 at the first cycle."""

    previous_rows: int | None
    replaced_rows: int
    rows: int
    inserts: int
    updates: int
    deletes: int


def reasons_to_hold(
    guards: GuardSettings,
    counts: Counts,
    *,
    schema_changes: Sequence[str] = (),
    position: Position | None = None,
    previous_position: Position | None = None,
) -> list[str]:
    """Every reason to hold the cycle, in sentences; empty when it may be committed.

    schema_changes: those of the source, given only under `on_schema_change: hold`.
    """
    reasons = [f"the schema changed: {change}" for change in schema_changes]
    if position is not None and previous_position is not None and position.is_before(previous_position):
        reasons.append(
            f"the server went back in time: it stood at {previous_position.text} and now stands at {position.text}"
        )
    had, least = counts.replaced_rows, guards.rows.min
    if had and counts.rows < least:
        reasons.append(f"the source has {counts.rows} rows, fewer than {least} (guards.rows.min); it had {had}")
    before = counts.previous_rows
    if before is None:
        return reasons
    if guards.rows.max is not None and counts.rows > guards.rows.max:
        reasons.append(f"the source has {counts.rows} rows, more than {guards.rows.max} (guards.rows.max)")
    moved = abs(counts.rows - before)
    if guards.rows.change is not None and guards.rows.change.exceeded(moved, before):
        reasons.append(
            f"the row count went from {before} to {counts.rows}, past {guards.rows.change} (guards.rows.change)"
        )
    if guards.deletes.exceeded(counts.deletes, before):
        reasons.append(f"{counts.deletes} of {before} rows are gone, past {guards.deletes} (guards.deletes)")
    if guards.updates.exceeded(counts.updates, before):
        reasons.append(f"{counts.updates} of {before} rows changed, past {guards.updates} (guards.updates)")
    return reasons
