"""What the catalog's rows say, as frozen records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from differ.errors import CorruptionError
from differ.model import Position
from differ.records.types import Schema
from differ.storage import StoredFile


def to_text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_moment(text: str) -> datetime:
    """Read what `to_text` wrote."""
    return datetime.fromisoformat(text)


def maybe_moment(text: str | None) -> datetime | None:
    """Like `to_moment`, for columns that may be null."""
    return None if text is None else to_moment(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """The SCN timeline: its id, the last SCN handed out, and the running hash over all windows.

    floors: the number of the floor raised last. kept_after_scn, kept_after_chain: the last SCN that retention let go
    and the chain there; 0 and GENESIS before the first. segment_bytes: of all segments that ever were.
    """

    stream_id: str
    head_scn: int
    chain: str
    floors: int
    kept_after_scn: int
    kept_after_chain: str
    segment_bytes: int

    @property
    def oldest_scn(self) -> int:
        """The oldest SCN whose event can still be read; head + 1 when there is none."""
        return self.kept_after_scn + 1

    @classmethod
    def from_row(cls, row: Row[Any]) -> StreamEntry:
        """Read the row of `stream`."""
        return cls(
            stream_id=row.stream_id,
            head_scn=row.head_scn,
            chain=row.chain,
            floors=row.floors,
            kept_after_scn=row.kept_after_scn,
            kept_after_chain=row.kept_after_chain,
            segment_bytes=row.segment_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedSegment:
    """A segment file that a cycle wrote, in the order of its events: deletes, updates, inserts."""

    file: StoredFile
    has_before_schema: bool
    """Whether its `before` images have the previous schema instead of the cycle's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedSums:
    """Checksums of key ranges, which describe the source as the cycle found it. rules: a hash of what was configured.
    partial: how many cycles in a row, this one included, read only some ranges."""

    file: StoredFile
    rules: str
    partial: int

    def to_json(self) -> list[Any]:
        """The catalog's form."""
        return [self.file.to_json(), self.rules, self.partial]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Everything a cycle wrote and a commit makes visible; its JSON is what a held cycle's hash is taken over.

    manifest: None where the snapshot stays as it was. schema_changes: sentences, empty when the schema is the same.
    absent: keys that wait for their delete to be confirmed. sums: of `scan: checksum`. floor: a new base without
    events.
    seen_at, detected_at: when reading began and ended; what was read held at some moment between them.
    """

    manifest: StoredFile | None
    segments: tuple[StagedSegment, ...]
    schema: Schema
    schema_changes: tuple[str, ...]
    absent: StoredFile | None
    position: Position | None
    baseline: bool
    floor: bool
    seen_at: str
    detected_at: str
    sums: StagedSums | None = None

    def to_json(self) -> dict[str, Any]:
        """The catalog's form; `from_json` reads it back. Without sums it is what it was before there were any, for the
        chain is taken over it."""
        body = {
            "manifest": self.manifest.to_json() if self.manifest else None,
            "segments": [[item.file.to_json(), item.has_before_schema] for item in self.segments],
            "schema": self.schema.to_json(),
            "schema_changes": list(self.schema_changes),
            "absent": self.absent.to_json() if self.absent else None,
            "position": self.position.to_json() if self.position else None,
            "baseline": self.baseline,
            "floor": self.floor,
            "seen_at": self.seen_at,
            "detected_at": self.detected_at,
        }
        return body if self.sums is None else body | {"sums": self.sums.to_json()}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Staged:
        """Read what `to_json` wrote."""
        sums = body.get("sums")
        return cls(
            manifest=_file(body["manifest"]),
            segments=tuple(
                StagedSegment(file=StoredFile.from_json(file), has_before_schema=before)
                for file, before in body["segments"]
            ),
            schema=Schema.from_json(body["schema"]),
            schema_changes=tuple(body["schema_changes"]),
            absent=_file(body["absent"]),
            position=Position.from_json(body["position"]) if body["position"] else None,
            baseline=body["baseline"],
            floor=body["floor"],
            seen_at=body["seen_at"],
            detected_at=body["detected_at"],
            sums=StagedSums(file=StoredFile.from_json(sums[0]), rules=sums[1], partial=sums[2]) if sums else None,
        )

    @property
    def events(self) -> int:
        """How many SCNs the commit will take."""
        return sum(item.file.rows for item in self.segments)

    @property
    def segment_bytes(self) -> int:
        """The bytes of its segments."""
        return sum(item.file.bytes for item in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """Where a source stands: its lease epoch, its current cycle, and what waits.

    floor_scn: events up to here do not tell how the state came to be. floor_number: which of the stream's floors it is;
    a cursor that was made when fewer had been raised must not go on with this source.
    """

    name: str
    epoch: int
    cycles: int
    current: int | None
    seen_at: datetime | None
    floor_scn: int
    floor_number: int
    paused: bool
    rebaseline: bool
    absent: StoredFile | None
    position: Position | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> SourceEntry:
        """Read a row of `sources`."""
        return cls(
            name=row.name,
            epoch=row.epoch,
            cycles=row.cycles,
            current=row.current,
            seen_at=maybe_moment(row.seen_at),
            floor_scn=row.floor_scn,
            floor_number=row.floor_number,
            paused=row.paused,
            rebaseline=row.rebaseline,
            absent=_file(json.loads(row.absent)) if row.absent else None,
            position=Position.from_json(json.loads(row.position)) if row.position else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleEntry:
    """One attempt to scan, diff and commit a source; `scn_last` is the head just after its commit."""

    source: str
    cycle: int
    commit_id: str
    epoch: int
    status: str
    base_cycle: int | None
    started_at: datetime
    finished_at: datetime | None
    result: Mapping[str, Any]
    staged: Staged | None
    scn_last: int | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> CycleEntry:
        """Read a row of `cycles`; raises CorruptionError when it is not what was written."""
        if row.row_hash != cycle_hash(dict(row._mapping)):
            raise CorruptionError(
                f"read catalog: the row of cycle {row.source}/{row.cycle} is not what was written",
                hint="run 'differ check'",
            )
        return cls(
            source=row.source,
            cycle=row.cycle,
            commit_id=row.commit_id,
            epoch=row.epoch,
            status=row.status,
            base_cycle=row.base_cycle,
            started_at=to_moment(row.started_at),
            finished_at=maybe_moment(row.finished_at),
            result=json.loads(row.result) if row.result else {},
            staged=Staged.from_json(json.loads(row.staged)) if row.staged else None,
            scn_last=row.scn_last,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEntry:
    """A committed window with its place in the chain."""

    first: int
    last: int
    commit_id: str
    committed_at: datetime
    chain: str

    @classmethod
    def from_row(cls, row: Row[Any]) -> WindowEntry:
        """Read a row of `windows`."""
        return cls(
            first=row.first_scn,
            last=row.last_scn,
            commit_id=row.commit_id,
            committed_at=to_moment(row.committed_at),
            chain=row.chain,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentEntry:
    """One source's run of events inside a window; `first_scn` is the SCN of the file's ordinal 0."""

    first_scn: int
    window_first: int
    source: str
    cycle: int
    count: int
    schema_id: int
    before_schema_id: int
    baseline: bool
    seen_unchanged_at: datetime | None
    detected_at: datetime
    file: StoredFile

    @property
    def last_scn(self) -> int:
        """The SCN of the file's last event."""
        return self.first_scn + self.count - 1

    @classmethod
    def from_row(cls, row: Row[Any]) -> SegmentEntry:
        """Read a row of `segments`."""
        return cls(
            first_scn=row.first_scn,
            window_first=row.window_first,
            source=row.source,
            cycle=row.cycle,
            count=row._mapping["count"],
            schema_id=row.schema_id,
            before_schema_id=row.before_schema_id,
            baseline=row.baseline,
            seen_unchanged_at=maybe_moment(row.seen_unchanged_at),
            detected_at=to_moment(row.detected_at),
            file=StoredFile.from_json(json.loads(row.file)),
        )


def _file(body: dict[str, Any] | None) -> StoredFile | None:
    return StoredFile.from_json(body) if body else None


_HASHED = (
    "source", "cycle", "commit_id", "epoch", "status", "base_cycle", "started_at", "finished_at", "result", "staged",
    "scn_last",
)  # fmt: skip


def cycle_hash(row: Mapping[str, Any]) -> str:
    """The hash that a row of `cycles` carries: xxh3_128 over its other columns as JSON."""
    import xxhash

    body = json.dumps([row[name] for name in _HASHED], separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(body.encode())
