"""Sinks and changes for tests beyond the shared suite."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from differ.records.types import LogicalType
from differ.sinks.contract import Change, Sink, SinkContext
from differ.sinks.registry import parse_options

S = TypeVar("S", bound=Sink)


def made(kind: type[S], folder: Path, options: Mapping[str, Any], *, name: str = "shop", sources: str = "orders") -> S:
    """A sink that is not open yet. sources: names with commas between them."""
    names = tuple(sources.split(","))
    context = SinkContext(name=name, sources=names, project=folder, state=folder / ".differ" / "sinks" / name)
    return kind(context, parse_options(kind, options, context))


def changed(change: Change, types: Mapping[str, LogicalType] | None = None, **fields: Any) -> Change:
    """The change with another key, document or operation; `document` may be given without its key fields."""
    if fields.get("document") is not None:
        fields["document"] = {**fields.get("key", change.key), **fields["document"]}
    return replace(change, types={**change.types, **(types or {})}, **fields)
