"""Events as rows for people: op, key, and what changed inside, as `document.address.city: Pune -> Delhi`.

Only data and short strings are made here; colour, width and printing are the command line's. Works on event
objects (docs/formats/events.md), so net changes and events read from a relay show in the same way.

Invariant: an update shows at least one change for each of its changed columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from differ.formats.batch import EventBatch
from differ.formats.ndjson import event_objects

VALUE_CHARACTERS = 40
"""A displayed value longer than this is cut in its middle."""
SUMMARY_FIELDS = 6
"""How many fields of a row the summary of an insert or delete names."""
_PLAIN = {"$oid", "$uuid", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$symbol", "$code"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field whose value changed; `old` is None where the field appeared, `new` where it went."""

    path: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.path}: + {self.new}"
        if self.new is None:
            return f"{self.path}: - {self.old}"
        return f"{self.path}: {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One event for a person's eye. `changes` is of an update, `summary` of an insert or delete."""

    scn: int
    op: str
    source: str
    key: str
    changes: tuple[FieldChange, ...]
    summary: str
    baseline: bool

    @property
    def detail(self) -> str:
        """The changes or the summary as one line."""
        return "; ".join(map(str, self.changes)) if self.changes else self.summary


def event_rows(batch: EventBatch, *, whole: bool = False) -> Iterator[EventRow]:
    """Yield the rows of a batch's events, in SCN order. whole: no value is cut, no field left out."""
    return (event_row(event, whole=whole) for event in event_objects(batch))


def event_row(event: Mapping[str, Any], *, whole: bool = False) -> EventRow:
    """The row of one event object; `scn` is its own, or the last one that a net change is made of.

    whole: no value is cut, and a summary names every field.
    """
    limit = None if whole else VALUE_CHARACTERS
    before, after = event["before"], event["after"]
    changes: tuple[FieldChange, ...] = ()
    summary = ""
    if before is not None and after is not None:
        changes = tuple(_column_changes(before, after, event["changed"], limit))
    else:
        summary = _summary(after if after is not None else before, event["key"], limit)
    return EventRow(
        scn=event["scn"],
        op=event["op"],
        source=event["source"],
        key=key_text(event["key"]),
        changes=changes,
        summary=summary,
        baseline=bool(event.get("baseline")),
    )


def key_text(key: Mapping[str, Any]) -> str:
    """A key for people: `7`, or `region=eu, id=7` where it has several columns. Never shortened.

    The tag of a number stays, since an int32 7 and an int64 7 are two keys.
    """
    if len(key) == 1:
        return _key_part(next(iter(key.values())))
    return ", ".join(f"{name}={_key_part(value)}" for name, value in key.items())


def _key_part(value: Any) -> str:
    if isinstance(value, dict) and any(name.startswith("$number") for name in value):
        return json.dumps(value, separators=(",", ":"))
    return show(value, None)


def show(value: Any, limit: int | None = VALUE_CHARACTERS) -> str:
    """A JSON value as a person would write it, cut in the middle when longer than `limit` characters."""
    text = _plain(value)
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    if limit is None or len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - limit :]}"


def _plain(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case "":
            return '""'
        case str():
            # A text that could be taken for another value, or whose ends cannot be seen, is quoted.
            return json.dumps(value, ensure_ascii=False) if value != value.strip() or value == "null" else value
        case dict() if len(value) == 1:
            ((name, inner),) = value.items()
            if name in _PLAIN or (name == "$date" and isinstance(inner, str)):
                return str(inner)
    return json.dumps(value, ensure_ascii=False)


def _column_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], changed: list[str], limit: int | None
) -> Iterator[FieldChange]:
    for name in changed:
        if name not in after:
            yield FieldChange(path=name, old=show(before.get(name), limit), new=None)
        elif name not in before:
            yield FieldChange(path=name, old=None, new=show(after[name], limit))
        else:
            found = list(_walk(name, before[name], after[name], limit))
            # Values that differ only in what relaxed JSON does not show, as an int32 7 and an int64 7.
            yield from found or [FieldChange(path=name, old=show(before[name], limit), new=show(after[name], limit))]


def _walk(path: str, old: Any, new: Any, limit: int | None) -> Iterator[FieldChange]:
    """The paths below `path` at which two values differ; a list is walked only where its length stays."""
    old_fields, new_fields = _fields(old), _fields(new)
    if old_fields is not None and new_fields is not None:
        old, new = old_fields, new_fields
        for name in [*old, *(name for name in new if name not in old)]:
            inner = f"{path}.{name}"
            if name not in new:
                yield FieldChange(path=inner, old=show(old[name], limit), new=None)
            elif name not in old:
                yield FieldChange(path=inner, old=None, new=show(new[name], limit))
            else:
                yield from _walk(inner, old[name], new[name], limit)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _walk(f"{path}[{index}]", left, right, limit)
    elif type(old) is not type(new) or old != new:
        yield FieldChange(path=path, old=show(old, limit), new=show(new, limit))


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a document; None for what is none, also for one value in Extended JSON as {"$oid": ..}."""
    if not isinstance(value, dict):
        return None
    if value.keys() == {"$document"}:
        inner: dict[str, Any] = value["$document"]
        return inner
    return None if next(iter(value), "").startswith("$") else value


def _summary(row: Mapping[str, Any], key: Mapping[str, Any], limit: int | None) -> str:
    fields = list(_flat(row, key))
    most = len(fields) if limit is None else SUMMARY_FIELDS
    shown = ", ".join(f"{name}={show(value, limit)}" for name, value in fields[:most])
    more = len(fields) - most
    return f"{shown}, … {more} more" if more > 0 else shown


def _flat(row: Mapping[str, Any], key: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields beside the key; a row that is one document shows the document's own fields."""
    rest = [(name, value) for name, value in row.items() if name not in key]
    fields = _fields(rest[0][1]) if len(rest) == 1 else None
    if fields is not None:
        rest = [(name, value) for name, value in fields.items() if name not in key]
    yield from rest
