"""The frozen records that layers hand to each other: events, windows, results.

Invariant: an SCN is a positive integer, taken from the catalog at commit and never from a clock; times are for people.
Words as in docs/concepts.md; after Databus' SCN and Debezium's envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Op = Literal["insert", "update", "delete"]
OPS: tuple[Op, ...] = ("insert", "update", "delete")
"""The operation codes of a segment are the positions in this tuple."""

CycleStatus = Literal["committed", "unchanged", "held", "failed", "busy", "dry-run", "rejected", "superseded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A contiguous SCN range, both ends included, that became visible in one commit."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many events the window holds."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEvent:
    """One insert, update or delete of one key.

    `before` is None for an insert, `after` for a delete. Values are Python's own (Decimal, datetime, bytes, UUID); a
    json column is what its Extended JSON says, in BSON's own types, with aware times. The change happened between
    `seen_unchanged_at` (None when unknown) and `detected_at`. Idempotence key: (`stream`, `scn`).
    """

    stream: str
    scn: int
    source: str
    op: Op
    key: Mapping[str, Any]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changed: tuple[str, ...]
    cycle: int
    window: Window
    schema: int
    seen_unchanged_at: datetime | None
    detected_at: datetime
    baseline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a server stood when a scan read it: an LSN, GTID set or cluster time.

    `parts` maps an independent timeline of the server (domain, system id) to a number that only grows.
    """

    kind: str
    parts: Mapping[str, int]
    text: str

    def is_before(self, other: Position) -> bool:
        """Whether some timeline that both know stands lower here; positions of different kinds are not ordered."""
        if self.kind != other.kind:
            return False
        return any(self.parts[name] < other.parts[name] for name in self.parts.keys() & other.parts.keys())

    def to_json(self) -> dict[str, Any]:
        """The catalog's form; `from_json` reads it back."""
        return {"kind": self.kind, "parts": dict(self.parts), "text": self.text}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Position:
        """Read what `to_json` wrote."""
        return cls(kind=body["kind"], parts=dict(body["parts"]), text=body["text"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousCommit:
    """What an iterator is told of the source's last committed cycle."""

    cycle: int
    rows: int
    committed_at: datetime
    position: Position | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleResult:
    """How one cycle of one source ended; `to_json` is the line that `differ scan --json` prints.

    ranges, ranges_read: with `scan: checksum`, of how many key ranges how many were read; or else, full_reason: why all
    rows were.
    """

    source: str
    cycle: int
    status: CycleStatus
    rows: int = 0
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    scn_first: int | None = None
    scn_last: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    bytes_written: int = 0
    reason: str | None = None
    hash: str | None = None
    error: str | None = None
    hint: str | None = None
    exit_code: int = 0
    schema: int | None = None
    schema_changes: tuple[str, ...] = ()
    waiting_deletes: int = 0
    ranges: int | None = None
    ranges_read: int | None = None
    full_reason: str | None = None

    @property
    def changes(self) -> int:
        """Inserts, updates and deletes together."""
        return self.inserts + self.updates + self.deletes

    def to_json(self) -> dict[str, Any]:
        """The documented line of `differ scan --json`."""
        body: dict[str, Any] = {
            "source": self.source,
            "cycle": self.cycle,
            "status": self.status,
            "rows": self.rows,
            "inserts": self.inserts,
            "updates": self.updates,
            "deletes": self.deletes,
            "scn_first": self.scn_first,
            "scn_last": self.scn_last,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
            "bytes_written": self.bytes_written,
        }
        optional = {
            "reason": self.reason,
            "hash": self.hash,
            "error": self.error,
            "hint": self.hint,
            "schema": self.schema,
            "schema_changes": list(self.schema_changes) or None,
            "waiting_deletes": self.waiting_deletes or None,
            "ranges": self.ranges,
            "ranges_read": self.ranges_read,
            "full_reason": self.full_reason,
        }
        return body | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> CycleResult:
        """Read what `to_json` wrote; the exit code is not part of it."""
        known = {name: body[name] for name in cls.__dataclass_fields__ if name in body}
        return cls(**known | {"schema_changes": tuple(body.get("schema_changes") or ())})
