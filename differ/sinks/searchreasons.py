"""Which field a search server refuses, from its own words: what a person needs to mend a mapping.

Invariant: no value of a document is told. The server's sentences may end in one, so they are never passed on: only
names of fields and types are taken, out of known sentences, from their beginning on.
"""

from __future__ import annotations

import re
from typing import Any

_SENTENCES = tuple(
    (re.compile(rf"(?:\[\d+:\d+\] )?{sentence}"), told)
    for sentence, told in (
        (r"failed to parse field \[([^\]]+)\] of type \[([a-z_]+)\]", "field {0!r} is mapped as {1}"),
        (
            r"mapper \[([^\]]+)\] cannot be changed from type \[([a-z_.]+)\] to \[([a-z_.]+)\]",
            "field {0!r} is {1}, and here {2}",
        ),
        (
            r"object mapping for \[([^\]]+)\] tried to parse field \[[^\]]*\] as object, but found a concrete value",
            "field {0!r} is an object, and here a value",
        ),
        (r"mapping set to strict, dynamic introduction of \[([^\]]+)\]", "field {0!r} is not in the strict mapping"),
        (r"Limit of total fields \[(\d+)\]", "the index may have {0} fields"),
    )
)
"""From servers of version 7 and later; others are told by their type alone."""


def field_at_fault(error: Any) -> str | None:
    """What is wrong with which field, by the `error` object of a bulk item; None where it does not say."""
    reason = error.get("reason") if isinstance(error, dict) else None
    if not isinstance(reason, str):
        return None
    for pattern, told in _SENTENCES:
        if found := pattern.match(reason):
            return told.format(*found.groups())
    return None
