"""Of several changes of one key only the last one counts for a destination that holds state.

Invariant: applying what `last_of_keys` leaves, deletes first, gives the state that applying all changes in order gives.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from differ.records.json_values import canonical_text
from differ.sinks.contract import Change

_PLAIN = frozenset({int, str, bytes, UUID, date, datetime})


def last_of_keys(changes: Iterable[Change]) -> tuple[list[Change], list[Change]]:
    """The upserts and deletes that are left of `changes`, which ascend by SCN: one for a key of a source. O(N)."""
    last: dict[Hashable, Change] = {}
    for change in changes:
        identity = key_identity(change)
        last.pop(identity, None)  # so that what is left stands in the order of the SCNs
        last[identity] = change
    upserts = [change for change in last.values() if change.document is not None]
    return upserts, [change for change in last.values() if change.document is None]


def key_identity(change: Change) -> Hashable:
    """What is equal exactly when source and key are: 1, 1.0 and true are three keys, a NaN is one."""
    values = change.key.values()
    return change.source, *(values if _PLAIN.issuperset(map(type, values)) else map(value_identity, values))


def value_identity(value: Any) -> Hashable:
    """What is equal exactly when two values of a key column are the same value."""
    return value if type(value) in _PLAIN else (canonical_text(value),)
