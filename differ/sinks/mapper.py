"""From events to changes: filter, hook, mapping, hook.

Invariant: every event that goes in comes out as one change, is counted as unmapped, or is refused with its reason.
A record of a StateSink that maps to nothing is deleted there, since it may have been written before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from differ.config.sink import SinkSettings
from differ.model import ChangeEvent, Op
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
        self._hooks = Hooks(settings.hooks, project)
        self._holds_state = holds_state
        self._plans: dict[tuple[str, int, tuple[str, ...]], Plan] = {}
        self.unmapped = 0

    def unknown_columns(self) -> list[str]:
        """What the mapping names and no source so far has."""
        return self._mapping.unknown()

    def changes(
        self, events: Iterable[ChangeEvent], schema: Schema, before_schema: Schema, *, bootstrap: bool = False
    ) -> Iterator[Change | tuple[ChangeEvent, HookError]]:
        """Yield the change of each event, or the event with why it is refused; nothing for an unmapped one.

        events: of one source, whose images have these schemas. Raises SinkError where the mapping cannot serve.
        """
        for event in events:
            try:
                change = self._change(event, schema, before_schema, bootstrap)
            except HookError as error:
                yield event, error
                continue
            if change is None:
                self.unmapped += 1
            else:
                yield change

    def _change(self, event: ChangeEvent, schema: Schema, before_schema: Schema, bootstrap: bool) -> Change | None:
        """The change as it is seen through the mapping: a record that comes to have a place is an insert there, one
        that loses it a delete."""
        own = before_schema if event.after is None else schema
        plan = self._plan(event.source, event.schema, own, own.names)
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
            event=event,
        )

    def _document(
        self, row: Document, event: ChangeEvent, schema: Schema, key: Document
    ) -> tuple[Document | None, Plan]:
        plan = self._plan(event.source, event.schema, schema, schema.names)
        hooked = self._hooks.before(row, event)
        if hooked is None:
            return None, plan
        if self._hooks.before_any:
            names = _with_key(hooked, event.key)
            plan = self._plan(event.source, event.schema, schema, tuple(names))
            hooked = names
        document = self._hooks.after(plan.document(hooked), event)
        return (None if document is None else _with_key(document, key)), plan

    def _plan(self, source: str, schema_id: int, schema: Schema, names: tuple[str, ...]) -> Plan:
        plan = self._plans.get((source, schema_id, names))
        if plan is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            plan = self._plans[source, schema_id, names] = self._mapping.plan(source, schema, names)
        return plan


def _with_key(document: Document, key: Mapping[str, Any]) -> Document:
    """The document with its key; raises HookError where a hook gave the key another value."""
    missing = [name for name in key if name not in document]
    for name, value in key.items():
        if name not in missing and value_identity(document[name]) != value_identity(value):
            raise HookError(
                f"a hook changed the key: {name!r} is not what it was", hint="add a field of another name instead"
            )
    return {**{name: key[name] for name in missing}, **document} if missing else document
