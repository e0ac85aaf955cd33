"""How a source would be read, compared and kept: what `differ scan --explain` tells. Opens the source, reads no row."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from differ.config import SourceSettings
from differ.cycle.ground import Ground
from differ.cycle.place import Place
from differ.cycle.ranges import RangePlan
from differ.executors import Deadline, ReaderThread
from differ.iterators.contract import Context, IteratorSpec, Reader
from differ.iterators.discovery import find_iterator
from differ.records.types import Schema

OPEN_SECONDS = 60.0


def explain(place: Place, names: Sequence[str]) -> list[dict[str, Any]]:
    """One dict for each source of a unit (one source, or a consistency group), ready for JSON.

    Raises what opening the source raises, and ScanTimeoutError when that takes more than a minute.
    """
    cancelled = threading.Event()
    name = ",".join(names)
    stack = ExitStack()  # closed in the thread alone, for whatever hangs there would hang whoever closes it
    with ReaderThread(name, cancelled, Deadline(OPEN_SECONDS, f"explain {name}")) as thread:
        try:
            return thread.call(lambda: [_explain(place, place.settings.source(name), stack) for name in names])
        finally:
            thread.finish([stack.close], 1.0)


def _explain(place: Place, settings: SourceSettings, stack: ExitStack) -> dict[str, Any]:
    spec = find_iterator(settings.iterator, place.settings.project)
    entry = place.catalog.source(settings.name) or place.catalog.unborn(settings.name)
    plan = RangePlan(place, settings, entry, Ground(place, settings, entry))
    context = Context(
        source=settings.name,
        options=settings.options,
        project=str(place.settings.project),
        key=tuple(settings.key),
        columns_excluded=tuple(settings.columns.exclude),
        range_rows=plan.range_rows,
    )
    reader = _open(spec, context, stack)
    schema = reader.schema()
    position = reader.position()
    group = place.settings.group_of(settings.name)
    store = spec.store(context)
    return {
        "source": settings.name,
        "iterator": _where(spec, settings.iterator),
        "store": None if store is None else str(store),
        "group": group.name if group else None,
        "read": _consistency(settings, consistent=reader.consistent),
        "scan": _scanned(settings, plan, reader),
        "position": position.text if position else None,
        "splits": len(reader.splits()),
        "path": reader.explain(),
        "key": list(reader.key),
        "schema": _columns(schema),
        "compared": _rules(settings),
        "kept": _kept(place, settings),
    }


def _open(spec: IteratorSpec, context: Context, stack: ExitStack) -> Reader:
    reader = spec.open(context)
    stack.callback(reader.close)
    return reader


def _where(spec: IteratorSpec, name: str) -> str:
    module = getattr(spec.target, "__module__", "")
    if module.startswith("differ.iterators."):
        return f"{name} (built in)"
    return f"{name} ({'iterators/' if '.iterators.' in module else ''}{module.rpartition('.')[2]}.py)"


def _consistency(settings: SourceSettings, *, consistent: bool) -> str:
    mode = settings.guards.confirm_deletes
    state = "one consistent state" if consistent else "no one consistent state"
    if mode == "never" or (mode == "auto" and consistent):
        return f"{state}; an absent key is a delete"
    return f"{state}; a delete needs a lookup or a second scan to agree"


def _scanned(settings: SourceSettings, plan: RangePlan, reader: Reader) -> str:
    if settings.scan == "full":
        return "all rows"
    reason = reader.why_no_sums()
    if reason is None and not reader.consistent:
        reason = "it reads no one consistent state"
    reason = reason or plan.distrust()
    if reason is not None:
        return f"all rows: {reason}"
    return f"the key ranges whose checksum moved; all rows where they hold more than {settings.checksum.moved_max:.0%}"


def _columns(schema: Schema | None) -> list[str] | str:
    if schema is None:
        return "found from all rows before they are compared"
    return [f"{column.name} {column.type}" for column in schema.columns]


def _rules(settings: SourceSettings) -> str:
    columns = settings.columns
    rules = {"exclude": columns.exclude, "ignore": columns.ignore, "tolerance": columns.tolerance, "mask": columns.mask}
    told = [f"{rule} {', '.join(names)}" for rule, names in rules.items() if names]
    return "; ".join(["by 128-bit row fingerprints", *told])


def _kept(place: Place, settings: SourceSettings) -> str:
    entry = place.catalog.source(settings.name)
    if entry is None or entry.current is None:
        return "the first cycle writes a base"
    if entry.rebaseline:
        return "a new base without events"
    manifest = place.snapshot(settings.name).manifest
    rules = settings.snapshots
    is_due = manifest.base_is_due(small_base_bytes=rules.small_base_bytes, delta_share=float(rules.delta_share))
    decision = "a new base" if is_due else "a delta"
    return f"{decision} when rows changed: base {manifest.base_bytes:,} bytes, deltas {manifest.delta_bytes:,} bytes"
