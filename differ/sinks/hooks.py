"""The Python functions that see a record before and after its mapping.

    def before(row, event):       the source's record, a dict of the hook's own to change; of a delete the record
        return row                that went (only for sinks of events)

    def after(document, event):   what the mapping made of it
        return document

Either returns the record, changed or another, or None: the record has no place in the destination. Invariant: a hook
cannot change a record's key; one that raises or returns something else refuses that record, with its place in the file.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from differ.config.sink import HookSettings
from differ.errors import ConfigError, SinkError
from differ.model import ChangeEvent
from differ.sinks.contract import Document
from differ.sinks.loading import load_attribute

Hook = Callable[[dict[str, Any], ChangeEvent], Any]


class HookError(SinkError):
    """A hook raised, or returned what is no record: this record cannot be written."""


class Hooks:
    """The hooks of one sink, loaded; `before` and `after` give the record on where there is none."""

    def __init__(self, settings: HookSettings, project: Path, *, sink: str) -> None:
        """Load the functions. Raises ConfigError, SinkError naming sink, file, line and cause."""
        self._before = _load(settings.before, project, f"sink {sink}: hooks.before")
        self._after = _load(settings.after, project, f"sink {sink}: hooks.after")

    def __bool__(self) -> bool:
        """Whether there is any hook."""
        return self._before is not None or self._after is not None

    @property
    def before_any(self) -> bool:
        """Whether rows pass a hook before the mapping, and so may have other columns than the schema."""
        return self._before is not None

    def before(self, row: Document, event: ChangeEvent) -> Document | None:
        """The row after the first hook. Raises HookError."""
        return row if self._before is None else _call(self._before, row, event, "before")

    def after(self, document: Document, event: ChangeEvent) -> Document | None:
        """The document after the second hook. Raises HookError."""
        return document if self._after is None else _call(self._after, document, event, "after")


def _load(text: str | None, project: Path, what: str) -> Hook | None:
    if text is None:
        return None
    found: Any = load_attribute(text, project, what=what)
    if not callable(found):
        raise ConfigError(f"{what} {text!r}: it is no function", hint="def name(row, event): return row")
    hook: Hook = found
    return hook


def _call(hook: Hook, record: Document, event: ChangeEvent, which: str) -> Document | None:
    try:
        made = hook(dict(record), event)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise HookError(
            f"hook {which!r} raised {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})",
            hint="mend the function, then replay the dead letter",
        ) from error
    if made is None:
        return None
    if not isinstance(made, Mapping) or not all(isinstance(name, str) for name in made):
        raise HookError(f"hook {which!r} returned {type(made).__name__}", hint="return a dict with text keys, or None")
    return made
