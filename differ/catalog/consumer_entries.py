"""What the consumers' database says of a consumer, as a frozen record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Row

from differ.catalog.entries import to_moment
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, checkpoint_from_json
from differ.formats.cursor import Cursor

ConsumerState = Literal["new", "bootstrapping", "streaming"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEntry:
    """A member of a consumer group: what it calls itself, what it owns, and until when unless it is heard of again."""

    id: str
    client: str | None
    partitions: tuple[int, ...]
    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerEntry:
    """A registered consumer or consumer group.

    sources: what it follows, empty for all. checkpoint: of a single consumer, None before its first. partitions: of a
    group, where each of its partitions stands; members: eldest first, also those whose lease ended and whom nobody has
    missed yet; both empty for a single consumer. client: what its client calls itself.
    """

    name: str
    sources: tuple[str, ...]
    checkpoint: Checkpoint | None
    created_at: datetime
    updated_at: datetime
    client: str | None
    partitions: Mapping[int, Checkpoint | None] = field(default_factory=dict)
    members: tuple[MemberEntry, ...] = ()

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All that it has."""
        found = self.partitions.values() if self.partitions else [self.checkpoint]
        return tuple(checkpoint for checkpoint in found if checkpoint is not None)

    @property
    def cursors(self) -> frozenset[Cursor]:
        """Where in the stream it stands; while bootstrapping, at the pinned SCN."""
        return frozenset(checkpoint.cursor for checkpoint in self.checkpoints)

    @property
    def scn(self) -> int | None:
        """The lowest SCN it stands at, None where it stands nowhere."""
        return min((cursor.scn for cursor in self.cursors), default=None)

    @property
    def state(self) -> ConsumerState:
        """new: it has no checkpoint; bootstrapping: it, or a partition of it, is in the middle of one."""
        if any(isinstance(checkpoint, BootstrapCheckpoint) for checkpoint in self.checkpoints):
            return "bootstrapping"
        return "streaming" if self.checkpoints else "new"


def consumer_entry(row: Row[Any] | Mapping[str, Any]) -> ConsumerEntry:
    """Read a row of `consumers`, whose hash was checked."""
    body = row._mapping if isinstance(row, Row) else row
    return ConsumerEntry(
        name=body["name"],
        sources=tuple(json.loads(body["sources"])),
        checkpoint=_checkpoint(body["checkpoint"]),
        created_at=to_moment(body["created_at"]),
        updated_at=to_moment(body["updated_at"]),
        client=body["client"],
    )


def group_entry(group: Row[Any], partitions: Sequence[Row[Any]], members: Sequence[Row[Any]]) -> ConsumerEntry:
    """Read a row of `consumer_groups` with those of its partitions and members."""
    moved = max((row.updated_at for row in partitions), default=group.created_at)
    return ConsumerEntry(
        name=group.name,
        sources=tuple(json.loads(group.sources)),
        checkpoint=None,
        created_at=to_moment(group.created_at),
        updated_at=to_moment(moved),
        client=None,
        partitions={row.number: _checkpoint(row.checkpoint) for row in partitions},
        members=tuple(
            MemberEntry(
                id=member.id,
                client=member.client,
                partitions=tuple(row.number for row in partitions if row.owner == member.id),
                lease_until=datetime.fromtimestamp(member.lease_until, UTC),
            )
            for member in sorted(members, key=lambda row: row.seniority)
        ),
    )


def _checkpoint(text: str | None) -> Checkpoint | None:
    return None if text is None else _parsed(text)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Checkpoint:
    """The partitions of a group mostly share one checkpoint's text."""
    return checkpoint_from_json(json.loads(text))
