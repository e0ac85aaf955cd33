"""The `console` sink: every change as a line of text, for a person who looks or a program that is piped to.

The caller gives the text stream; where it gives none the lines go to the log. Invariant: a line is written and flushed
before the checkpoint moves; a replay writes it again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from differ.config.fields import Section
from differ.errors import SinkUnavailableError
from differ.formats.checkpoint import Checkpoint
from differ.formats.table import key_text, show
from differ.sinks.contract import Change, EventSink
from differ.sinks.plain import canonical_json, plain_document, plain_key

log = logging.getLogger(__name__)


class ConsoleOptions(Section):
    """The options of a `console` sink."""

    format: Literal["text", "ndjson"] = Field(
        "text", description="A line for people, or a JSON object a line with the whole document."
    )


class ConsoleSink(EventSink):
    """Shows changes; keeps nothing."""

    Options: ClassVar[type[Section]] = ConsoleOptions
    options: ConsoleOptions

    def publish(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Write a line for each change. Raises SinkUnavailableError when the stream takes none."""
        line = change_line if self.options.format == "text" else change_json
        lines = [line(change) for change in changes]
        out = self.context.out
        if out is None:
            for text in lines:
                log.info("%s: %s", self.context.name, text)
            return
        try:
            out.write("".join(text + "\n" for text in lines))
            out.flush()
        except (OSError, ValueError) as error:
            raise SinkUnavailableError(
                f"sink {self.context.name}: write to the console: {error}", hint="is whoever reads it still there?"
            ) from error


def change_line(change: Change) -> str:
    """`42 orders update 7: status=paid, total=19.90`; what a document has below its fields is JSON."""
    head = f"{change.scn} {change.source} {change.op} {key_text(plain_key(change))}"
    if change.document is None:
        return head
    document = plain_document(change.document, change.types)
    fields = [f"{name}={show(value)}" for name, value in document.items() if name not in change.key]
    return f"{head}: {', '.join(fields)}" if fields else head


def change_json(change: Change) -> str:
    """The change as one JSON object, in one line."""
    return canonical_json(change_object(change))


def change_object(change: Change) -> dict[str, object]:
    """A mapped change as JSON values: where it stands, its operation, key and document."""
    document = None if change.document is None else plain_document(change.document, change.types)
    return {
        "stream": change.stream,
        "scn": change.scn,
        "source": change.source,
        "op": change.op,
        "key": plain_key(change),
        "document": document,
    }
