"""A source made up for tests of sinks: it is written to, and gives changes, checkpoints and pages of a bootstrap.

Invariant: `rows` is the fold of all changes that the feed has given.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from differ.formats.checkpoint import BootstrapCheckpoint, StreamCheckpoint
from differ.formats.cursor import GENESIS_CHAIN, Cursor
from differ.model import ChangeEvent, Op, Window
from differ.records import types as t
from differ.records.types import LogicalType
from differ.sinks.contract import Change, Generation

PLAIN: Mapping[str, LogicalType] = {
    "id": t.INT,
    "name": t.STRING,
    "total": LogicalType(kind="decimal", precision=12, scale=2),
    "at": t.TIMESTAMP_UTC,
}
"""The columns of a feed; the first is its key."""
GROWN: Mapping[str, LogicalType] = {**PLAIN, "grade": t.INT}
NESTED: Mapping[str, LogicalType] = {
    **PLAIN,
    "tags": LogicalType(kind="list", children=(("item", t.STRING),)),
    "address": LogicalType(kind="struct", children=(("city", t.STRING), ("zip", t.INT))),
    "document": t.JSON,
}
BEGUN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


class Feed:
    """Rows by key, and the SCN of the last change. columns: may be replaced while it runs, as a schema grows."""

    def __init__(self, columns: Mapping[str, LogicalType] = PLAIN, *, source: str = "orders") -> None:
        self.columns = columns
        self.source = source
        self.rows: dict[int, dict[str, Any]] = {}
        self.scn = 0
        self.stream = str(uuid.uuid4())
        self._generations = 0

    def put(self, key: int, **values: Any) -> Change:
        """Insert or update a record; columns that are not given get values that no other change has."""
        before = self.rows.get(key)
        made = {name: _value(name, self.scn + 1) for name in self.columns} | values
        made[next(iter(self.columns))] = key
        self.rows[key] = made
        return self._change("insert" if before is None else "update", key, before, made)

    def delete(self, key: int) -> Change:
        """Remove a record that is there."""
        return self._change("delete", key, self.rows.pop(key), None)

    def renew(self) -> None:
        """Go on as another stream, as after a restored backup: SCNs begin again, rows stay."""
        self.stream, self.scn = str(uuid.uuid4()), 0

    def cursor(self, scn: int | None = None) -> Cursor:
        """The place in the stream at an SCN, or now."""
        return Cursor(stream=self.stream, scn=self.scn if scn is None else scn, chain=GENESIS_CHAIN, floors=0)

    def checkpoint(self, scn: int | None = None) -> StreamCheckpoint:
        """The checkpoint at an SCN, or now."""
        return StreamCheckpoint(cursor=self.cursor(scn))

    def generation(self) -> Generation:
        """A new bootstrap, pinned now."""
        self._generations += 1
        return Generation(id=f"{self.stream}-{self._generations}", cursor=self.cursor(), sources=(self.source,))

    def pages(self, generation: Generation, count: int) -> Iterator[tuple[list[Change], BootstrapCheckpoint]]:
        """The rows as they are now, in so many pages, each with the checkpoint after it."""
        keys = sorted(self.rows)
        size = max(1, -(-len(keys) // count))
        for page, start in enumerate(range(0, len(keys), size)):
            rows = [
                self._change("insert", key, None, self.rows[key], pinned=generation)
                for key in keys[start : start + size]
            ]
            yield rows, BootstrapCheckpoint(
                bootstrap=f"pin-{generation.id}", generation=generation.id, cursor=generation.cursor,
                source=self.source, page=str(page), done=(),
            )  # fmt: skip

    def _change(
        self, op: Op, key: int, before: dict[str, Any] | None, after: dict[str, Any] | None,
        pinned: Generation | None = None,
    ) -> Change:  # fmt: skip
        if pinned is None:
            self.scn += 1
        scn = self.scn if pinned is None else pinned.scn
        name = next(iter(self.columns))
        event = ChangeEvent(
            stream=self.stream, scn=scn, source=self.source, op=op, key={name: key}, before=before, after=after,
            changed=tuple(after) if op == "update" and after else (), cycle=1, window=Window(first=scn, last=scn),
            schema=len(self.columns), seen_unchanged_at=None, detected_at=BEGUN, baseline=pinned is not None,
        )  # fmt: skip
        return Change(
            stream=self.stream, source=self.source, scn=scn, op=op, key={name: key}, document=after, before=before,
            types=self.columns, origin=event,
        )  # fmt: skip


def _value(name: str, number: int) -> Any:
    match name:
        case "name":
            return f"name {number}"
        case "total":
            return Decimal(number) / 4
        case "at":
            return BEGUN + timedelta(seconds=number, microseconds=250_000)
        case "tags":
            return [f"tag {number}", "ü"]
        case "address":
            return {"city": "Pune", "zip": 411000 + number}
        case "document":
            return {"count": number, "inner": {"list": [number, "x", None, {"deep": True}], "empty": {}}}
        case _:
            return number
