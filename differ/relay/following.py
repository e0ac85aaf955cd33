"""Who follows the stream, and how far each has come: what `differ consumers`, `/v1/consumers` and metrics tell alike.

Invariant: a lag of 0 events means that nothing of the consumer's sources waits for it, whatever the head is: a quiet
source never lags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from differ.catalog import Catalog
from differ.catalog.consumer_entries import ConsumerEntry
from differ.config import RetentionSettings
from differ.formats.checkpoint import Checkpoint
from differ.formats.partitions import VIRTUAL, Partitions
from differ.relay.retention import holds

SINK_PREFIX = "sink."
"""How the names begin under which sinks follow the relay."""


def following(
    catalog: Catalog, entries: Sequence[ConsumerEntry], retention: RetentionSettings, moment: datetime
) -> list[dict[str, Any]]:
    """Consumers as JSON has them: `described`, and

        behind                  {"events", "seconds"} to come and since when the first waits; null before a checkpoint
        checkpoint_age_seconds  since the checkpoint last moved
        holds                   {"bytes", "within"} kept only for it, beyond `age` and `size`; within: of the cap

    Cost: one index row for each segment above a consumer, and two queries for what all of them hold.
    """
    held = {hold.consumer: hold for hold in holds(catalog, retention, moment, entries)}
    found = []
    for entry in entries:
        body = described(entry) | {"behind": None, "checkpoint_age_seconds": None, "holds": None}
        if entry.scn is not None:
            behind = catalog.behind(entry.scn, entry.sources)
            seconds = _seconds(moment, behind.since) if behind.since else 0.0
            body["behind"] = {"events": behind.events, "seconds": seconds}
            body["checkpoint_age_seconds"] = _seconds(moment, entry.updated_at)
        if entry.name in held:
            body["holds"] = {"bytes": held[entry.name].bytes, "within": held[entry.name].within}
        found.append(body)
    return found


def described(entry: ConsumerEntry) -> dict[str, Any]:
    """A consumer as JSON. A group's partitions are listed by the checkpoint they share, as in `partition=`, and by the
    member that owns them."""
    body: dict[str, Any] = {
        "name": entry.name,
        "kind": _kind(entry),
        "sources": list(entry.sources),
        "state": entry.state,
        "scn": entry.scn,
        "checkpoint": entry.checkpoint.to_json() if entry.checkpoint else None,
        "client": entry.client,
        "created_at": _moment(entry.created_at),
        "updated_at": _moment(entry.updated_at),
    }
    if entry.partitions:
        body["partitions"] = _shared(entry.partitions)
        body["members"] = [
            {
                "member": member.id,
                "client": member.client,
                "partitions": _text(member.partitions) if member.partitions else None,
                "lease_until": _moment(member.lease_until),
            }
            for member in entry.members
        ]
    return body


def _kind(entry: ConsumerEntry) -> str:
    """A sink is a group of its own, whose members stand by for each other."""
    if not entry.partitions:
        return "consumer"
    return "sink" if entry.name.startswith(SINK_PREFIX) else "group"


def _shared(partitions: Mapping[int, Checkpoint | None]) -> dict[str, Any]:
    places: dict[Checkpoint | None, list[int]] = {}
    for number, checkpoint in sorted(partitions.items()):
        places.setdefault(checkpoint, []).append(number)
    return {_text(numbers): checkpoint.to_json() if checkpoint else None for checkpoint, numbers in places.items()}


def _text(numbers: Sequence[int]) -> str:
    return Partitions(count=VIRTUAL, chosen=tuple(numbers)).text


def _seconds(moment: datetime, since: datetime) -> float:
    return max(0.0, round((moment - since).total_seconds(), 3))


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
