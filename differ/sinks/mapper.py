"""From events to changes: filter, hook, mapping, hook.

Invariant: every event that goes in comes out as one change, is counted as unmapped, or is refused with its reason.
A record of a StateSink that maps to nothing is deleted there, since it may have been written before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from differ.config.sink import SinkSettings
from differ.formats.batch import EventBatch
from differ.formats.events import change_events
from differ.formats.images import state_images
from differ.model import OPS, ChangeEvent, Op
from differ.records.types import Schema
from differ.sinks.contract import Change, Document
from differ.sinks.hooks import HookError, Hooks
from differ.sinks.mapping import DocumentMapping, Plan
from differ.sinks.net import value_identity

PLANS_MAX = 1_000
"""A hook that makes up columns makes up plans."""


class Mapper:
    """Maps the events of one sink. unmapped: how many led to nothing, so far."""

    def __init__(self, settings: SinkSettings, project: Path, *, holds_state: bool) -> None:
        """holds_state: for a StateSink. Raises ConfigError, SinkError for hooks that cannot be loaded."""
        self._mapping = DocumentMapping(settings.mapping, settings.sources)
        self._hooks = Hooks(settings.hooks, project, sink=settings.name)
        self._holds_state = holds_state
        self._plans: dict[tuple[str, int, tuple[str, ...]], tuple[Schema, Plan]] = {}
        self.unmapped = 0

    def unknown_columns(self) -> list[str]:
        """What the mapping names and no source so far has."""
        return self._mapping.unknown()

    def changes(
        self, batch: EventBatch, *, bootstrap: bool = False
    ) -> Iterator[Change | tuple[ChangeEvent, HookError]]:
        """Yield the change of each event, or the event with why it is refused; nothing for an unmapped one.

        Raises SinkError where the mapping cannot serve.
        """
        if self._holds_state and not self._hooks:
            yield from self._states(batch)
            return
        for event in change_events(batch):
            try:
                change = self._change(event, batch.schema, batch.before_schema, bootstrap)
            except HookError as error:
                yield event, error
                continue
            if change is None:
                self.unmapped += 1
            else:
                yield change

    def _states(self, batch: EventBatch) -> Iterator[Change]:
        """The changes of a StateSink whose records pass no hook: straight from the columns, without what was before
        and without events."""
        events = _Events(batch)
        kept: Plan | None = None
        gone: Plan | None = None
        codes = batch.events.column("op").to_pylist()
        for row, (scn, code, (key, after)) in enumerate(zip(batch.scns, codes, state_images(batch), strict=True)):
            if after is None:
                plan = gone = gone or self._plan(batch.source, batch.before_schema)
            else:
                plan = kept = kept or self._plan(batch.source, batch.schema)
            yield Change(
                stream=batch.stream,
                source=batch.source,
                scn=scn,
                op=OPS[code],
                key=plan.key(key),
                document=None if after is None else plan.document(after),
                types=plan.types,
                origin=events,
                row=row,
            )

    def _change(self, event: ChangeEvent, schema: Schema, before_schema: Schema, bootstrap: bool) -> Change | None:
        """The change as it is seen through the mapping: a record that comes to have a place is an insert there, one
        that loses it a delete."""
        own = before_schema if event.after is None else schema
        plan = self._plan(event.source, own)
        key = plan.key(event.key)
        document: Document | None = None
        before: Document | None = None
        if event.after is not None:
            document, plan = self._document(event.after, event, schema, key)
        if self._holds_state:
            if document is None and event.after is not None:
                if bootstrap:
                    return None
                self.unmapped += 1
            op: Op = event.op if document is not None else "delete"
        else:
            if event.before is not None:
                before, _ = self._document(event.before, event, before_schema, key)
            if (document is None and before is None) or before == document:
                return None
            op = "insert" if before is None else "delete" if document is None else "update"
        return Change(
            stream=event.stream,
            source=event.source,
            scn=event.scn,
            op=op,
            key=key,
            document=document,
            before=before,
            types=plan.types,
            origin=event,
        )

    def _document(
        self, row: Document, event: ChangeEvent, schema: Schema, key: Document
    ) -> tuple[Document | None, Plan]:
        plan = self._plan(event.source, schema)
        hooked = self._hooks.before(row, event)
        if hooked is None:
            return None, plan
        if self._hooks.before_any:
            names = _with_key(hooked, event.key)
            plan = self._plan(event.source, schema, tuple(names))
            hooked = names
        document = self._hooks.after(plan.document(hooked), event)
        return (None if document is None else _with_key(document, key)), plan

    def _plan(self, source: str, schema: Schema, names: tuple[str, ...] = ()) -> Plan:
        """The plan of records of one schema object. Before and after images of a window may be of two schemas, which
        have the same names and other types; an object is kept with its plan, so that no other takes its `id`."""
        names = names or schema.names
        found = self._plans.get((source, id(schema), names))
        if found is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            found = self._plans[source, id(schema), names] = schema, self._mapping.plan(source, schema, names)
        return found[1]


class _Events(Sequence[ChangeEvent]):
    """The events of a batch, made when one of them is asked for. One for all changes of a batch: an object for each
    would live as long as the change, and double what the garbage collector looks through."""

    def __init__(self, batch: EventBatch) -> None:
        self._batch = batch
        self._made: list[ChangeEvent] = []

    def __len__(self) -> int:
        return len(self._batch)

    def __getitem__(self, row: Any) -> Any:
        self._made = self._made or list(change_events(self._batch))
        return self._made[row]


def _with_key(document: Document, key: Mapping[str, Any]) -> Document:
    """The document with its key; raises HookError where a hook gave the key another value."""
    missing = [name for name in key if name not in document]
    for name, value in key.items():
        if name not in missing and value_identity(document[name]) != value_identity(value):
            raise HookError(
                f"a hook changed the key: {name!r} is not what it was", hint="add a field of another name instead"
            )
    return {**{name: key[name] for name in missing}, **document} if missing else document
