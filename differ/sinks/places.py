"""Where a change belongs at its destination: names made from `{source}`, and changes sorted by them.

Invariant: sinks that hold state never let two sources share a place, where rows with equal keys would overwrite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from differ.errors import UsageError
from differ.sinks.contract import Change, SinkContext

SOURCE = "{source}"


def place(pattern: str, source: str) -> str:
    """The pattern with the source's name."""
    return pattern.replace(SOURCE, source)


def told_apart(pattern: str, context: SinkContext, *, option: str) -> None:
    """Raise UsageError when several sources would be written to one place."""
    if len(context.sources) > 1 and SOURCE not in pattern:
        raise UsageError(
            f"options.{option}: {pattern!r} is one place for the sources {', '.join(context.sources)}; records with "
            "equal keys would overwrite each other", hint=f"put {SOURCE} into it, or make a sink for each source",
        )  # fmt: skip


def by_source(changes: Iterable[Change]) -> Iterator[tuple[str, list[Change]]]:
    """The changes of each source, in their order."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(change.source, []).append(change)
    yield from found.items()


def spread(document: dict[str, Any], field: str | None) -> dict[str, Any]:
    """The document with the fields of one of its fields at the top, where that is a document; they win."""
    inner = document.get(field) if field is not None else None
    if not isinstance(inner, Mapping):
        return document
    return {name: value for name, value in document.items() if name != field} | dict(inner)
