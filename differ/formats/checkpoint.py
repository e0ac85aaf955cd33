"""How far a consumer has come: two records, since streaming and bootstrapping stand in different places.

    StreamCheckpoint      every event up to the cursor's SCN was looked through and processed
    BootstrapCheckpoint   these sources are done, this one up to this page; then the stream from the cursor on

Their JSON is what checkpoint files, the relay and destinations keep. Invariant: from_json(to_json(x)) == x.
Source: Databus' checkpoint, whose one record for all modes grew past a thousand lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from differ.errors import UsageError
from differ.formats.cursor import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCheckpoint:
    """Everything up to `cursor` is processed, also where a filter passed nothing."""

    cursor: Cursor

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {"kind": "stream", "cursor": self.cursor.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapCheckpoint:
    """In the middle of a bootstrap.

    bootstrap: the pin's id. generation: names this replacement of the destination's state. cursor: the stream at the
    pinned SCN. source, page: up to where rows were processed (page None: the source was only begun). done: sources
    that are complete.
    """

    bootstrap: str
    generation: str
    cursor: Cursor
    source: str
    page: str | None
    done: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "kind": "bootstrap",
            "bootstrap": self.bootstrap,
            "generation": self.generation,
            "cursor": self.cursor.text,
            "source": self.source,
            "page": self.page,
            "done": list(self.done),
        }


Checkpoint: TypeAlias = StreamCheckpoint | BootstrapCheckpoint


def checkpoint_from_json(body: Mapping[str, Any]) -> Checkpoint:
    """Read what `to_json` wrote; raises UsageError for anything else."""
    try:
        cursor = Cursor.parse(_text(body["cursor"]))
        if body["kind"] == "stream":
            return StreamCheckpoint(cursor=cursor)
        if body["kind"] == "bootstrap":
            return BootstrapCheckpoint(
                bootstrap=_text(body["bootstrap"]),
                generation=_text(body["generation"]),
                cursor=cursor,
                source=_text(body["source"]),
                page=None if body["page"] is None else _text(body["page"]),
                done=tuple(_text(name) for name in body["done"]),
            )
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"read checkpoint: a field is missing or of another type ({error}): {str(body)[:200]}",
            hint="send a checkpoint back as it was given",
        ) from error
    raise UsageError(f"read checkpoint: of no known kind: {str(body)[:200]}", hint="kind is 'stream' or 'bootstrap'")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
