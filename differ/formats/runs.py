"""Runs of events that one Arrow stream or one Avro container can hold: one source, one pair of schemas, one key.

Self-describing formats write their schema first, so they end where it changes; an answer that stops there
says so, and the reader goes on with the next run. Invariant: the runs hold all batches, in order, each
batch in exactly one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from differ.errors import UsageError
from differ.formats.batch import EventBatch
from differ.records.types import Schema

RunKey = tuple[str, int, Schema, Schema]


def run_key(batch: EventBatch) -> RunKey:
    """What two batches share exactly when one container can hold both."""
    return batch.source, batch.schema_id, batch.before_schema, batch.key_schema


def runs(batches: Iterable[EventBatch]) -> Iterator[Iterator[EventBatch]]:
    """Split a stream of batches at each change of source or schema; lazy, so use up a run before the next."""
    for _, run in groupby(batches, key=run_key):
        yield run


def one_run(batches: Iterable[EventBatch], form: str) -> Iterator[EventBatch]:
    """Pass the batches through, and raise UsageError where a second run would begin.

    What came before is whole: a writer closes its container on the error, and it holds all events up to
    that SCN.
    """
    first: EventBatch | None = None
    for batch in batches:
        if first is None:
            first = batch
        elif run_key(batch) != run_key(first):
            raise _end_of_run(first, batch, form)
        yield batch


def _end_of_run(first: EventBatch, batch: EventBatch, form: str) -> UsageError:
    scn = batch.scns[0]
    if batch.source != first.source:
        return UsageError(
            f"write {form}: one file holds one source; SCN {scn} is of {batch.source!r}, not {first.source!r}",
            hint=f"add --source {first.source}, or use --format ndjson for several sources",
        )
    return UsageError(
        f"write {form}: one file holds one schema; that of {batch.source!r} changes at SCN {scn}",
        hint=f"this file holds all events up to SCN {scn - 1}; go on in another with --since {scn - 1}",
    )
