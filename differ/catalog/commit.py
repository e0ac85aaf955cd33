"""The one commit point: snapshot, events and SCN range of a window become visible in one transaction.

The transaction checks that each source's lease epoch and base cycle are still those the cycle began with, takes
head+1..head+n, and extends the chain. Files hold ordinals, never SCNs, so cycles of different sources never abort each
other, and a held cycle can be committed later.

Source: Databus' SCN windows; the running hash after Merkle and Certificate Transparency.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from differ.catalog import tables
from differ.catalog.catalog import Catalog, now, raise_floor, write_cycle
from differ.catalog.entries import Staged, to_moment, to_text
from differ.catalog.reading import read_stream
from differ.catalog.totals import count_commit, count_scan
from differ.errors import BusyError, HeldError
from differ.model import CycleStatus, Window
from differ.storage import seam


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One source's part of a commit. `result` becomes the cycle's record; `scn_first`/`scn_last` are filled in.

    scanned: whether the source was read; not so where its state is only written anew.
    """

    source: str
    cycle: int
    epoch: int
    base_cycle: int | None
    staged: Staged
    result: dict[str, Any]
    scanned: bool = True


def commit(catalog: Catalog, commit_id: str, proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    """Commit the cycles as one window and return their results with SCNs, in the order given.

    A cycle without events and without a new snapshot is recorded as `unchanged`. What was held for these sources is
    marked superseded. Raises BusyError when another writer took over (nothing is changed then).
    """
    moment = to_text(now())
    seam.at("commit.begin")
    with catalog.writing() as connection:
        stream = read_stream(connection)
        head, chain = stream.head_scn, stream.chain
        results, content = [], []
        window_first = head + 1
        window_last = head + sum(proposal.staged.events for proposal in proposals)
        for proposal in proposals:
            _check_fence(connection, proposal)
            schema_id, before_id = _schema_ids(connection, proposal, moment)
            first = head + 1
            head = _insert_segments(connection, proposal, window_first, head, (schema_id, before_id))
            window = Window(first=first, last=head) if head >= first else None
            results.append(_record(connection, commit_id, proposal, window, window_last, schema_id, moment))
            content.append([proposal.source, proposal.cycle, proposal.staged.to_json()])
        if head >= window_first:
            chain = chain_hash(stream.stream_id, chain, window_first, head, content)
            body = {"first_scn": window_first, "last_scn": head, "commit_id": commit_id, "chain": chain}
            body |= {"committed_at": moment, "start_bytes": stream.segment_bytes}
            connection.execute(insert(tables.windows).values(**body))
            total = stream.segment_bytes + sum(proposal.staged.segment_bytes for proposal in proposals)
            connection.execute(update(tables.stream).values(head_scn=head, chain=chain, segment_bytes=total))
        seam.at("commit.end")
    seam.at("commit.done")
    return results


def chain_hash(stream_id: str, previous: str, first: int, last: int, content: Sequence[Any]) -> str:
    """The chain after a window: sha256 over the chain before it and, by source, [source, cycle, what it wrote]."""
    body = json.dumps([stream_id, previous, first, last, sorted(content)], separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


def hold(catalog: Catalog, commit_id: str, proposals: Sequence[Proposal]) -> None:
    """Keep the cycles whole without making anything visible; what was held before is superseded."""
    moment = to_text(now())
    seam.at("hold.begin")
    with catalog.writing() as connection:
        for proposal in proposals:
            _check_fence(connection, proposal)
            _supersede(connection, proposal, moment)
            _write(connection, commit_id, proposal, "held", proposal.result, None, moment)
    seam.at("hold.done")


def hold_hash(proposals: Sequence[Proposal]) -> str:
    """What `approve` must name, 16 hex digits: a hash over what the held cycles would change, and from which state.

    It is taken over contents alone, so another scan that finds the same is held under the same hash.
    """
    content = [
        [
            item.source,
            item.base_cycle,
            item.staged.schema.to_json(),
            item.staged.manifest.rows if item.staged.manifest else None,
            [part.file.hash for part in item.staged.segments],
        ]
        for item in proposals
    ]
    body = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _check_fence(connection: Connection, proposal: Proposal) -> None:
    table = tables.sources
    row = connection.execute(select(table).where(table.c.name == proposal.source)).first()
    if row is None or row.epoch != proposal.epoch:
        raise BusyError(
            f"commit {proposal.source}/{proposal.cycle}: another process took the source over",
            hint="nothing was committed; run it again",
        )
    if row.current != proposal.base_cycle:
        raise HeldError(
            f"commit {proposal.source}/{proposal.cycle}: it was compared with cycle {proposal.base_cycle}, "
            f"and the state is now that of cycle {row.current}",
            hint=f"run 'differ scan --source {proposal.source}' to compare with the current state",
        )


def _schema_ids(connection: Connection, proposal: Proposal, moment: str) -> tuple[int, int]:
    """Ids of the cycle's schema and of the one before it; a new version is written where the schema changed."""
    table = tables.schemas
    latest = connection.execute(
        select(table).where(table.c.source == proposal.source).order_by(table.c.version.desc()).limit(1)
    ).first()
    body = json.dumps(proposal.staged.schema.to_json(), separators=(",", ":"))
    if latest is not None and latest.body == body and not proposal.staged.schema_changes:
        return latest.id, latest.id
    version = latest.version + 1 if latest is not None else 1
    next_id = (connection.scalar(select(func.max(table.c.id))) or 0) + 1
    connection.execute(
        insert(table).values(
            id=next_id,
            source=proposal.source,
            version=version,
            created_at=moment,
            changes=json.dumps(list(proposal.staged.schema_changes)),
            body=body,
        )
    )
    return next_id, latest.id if latest is not None else next_id


def _insert_segments(
    connection: Connection, proposal: Proposal, window_first: int, head: int, schema_ids: tuple[int, int]
) -> int:
    seen = connection.scalar(select(tables.sources.c.seen_at).where(tables.sources.c.name == proposal.source))
    for segment in proposal.staged.segments:
        connection.execute(
            insert(tables.segments).values(
                first_scn=head + 1,
                window_first=window_first,
                source=proposal.source,
                cycle=proposal.cycle,
                count=segment.file.rows,
                schema_id=schema_ids[0],
                before_schema_id=schema_ids[1] if segment.has_before_schema else schema_ids[0],
                baseline=proposal.staged.baseline,
                seen_unchanged_at=seen,
                detected_at=proposal.staged.detected_at,
                file=json.dumps(segment.file.to_json()),
                bytes=segment.file.bytes,
            )
        )
        head += segment.file.rows
    return head


def _record(
    connection: Connection,
    commit_id: str,
    proposal: Proposal,
    window: Window | None,
    window_last: int,
    schema_id: int,
    moment: str,
) -> dict[str, Any]:
    staged = proposal.staged
    status: CycleStatus = "committed" if staged.manifest is not None else "unchanged"
    result = proposal.result | {"status": status, "schema": schema_id}
    result |= {"scn_first": window.first if window else None, "scn_last": window.last if window else None}
    _supersede(connection, proposal, moment)
    _write(connection, commit_id, proposal, status, result, window_last, moment)
    if proposal.scanned:
        count_commit(connection, proposal.source, result if staged.events else {}, to_moment(moment))
    values: dict[str, Any] = {
        "seen_at": staged.seen_at,
        "absent": json.dumps(staged.absent.to_json()) if staged.absent else None,
        "position": json.dumps(staged.position.to_json()) if staged.position else None,
    }
    if staged.manifest is not None:
        values["current"] = proposal.cycle
    if staged.floor:
        raise_floor(connection, proposal.source, window_last)
        values["rebaseline"] = False
    connection.execute(update(tables.sources).where(tables.sources.c.name == proposal.source).values(**values))
    return result


def _supersede(connection: Connection, proposal: Proposal, moment: str) -> None:
    table = tables.cycles
    held = connection.execute(select(table).where(table.c.source == proposal.source, table.c.status == "held"))
    for row in held.all():
        if row.cycle != proposal.cycle:
            body = dict(row._mapping) | {"status": "superseded", "finished_at": moment, "staged": None}
            write_cycle(connection, body)


def _write(
    connection: Connection,
    commit_id: str,
    proposal: Proposal,
    status: str,
    result: dict[str, Any],
    scn_last: int | None,
    moment: str,
) -> None:
    table = tables.cycles
    row = connection.execute(
        select(table).where(table.c.source == proposal.source, table.c.cycle == proposal.cycle)
    ).first()
    if proposal.scanned and (row is None or row.status == "running"):
        count_scan(connection, proposal.source, status, result)
    write_cycle(
        connection,
        {
            "source": proposal.source,
            "cycle": proposal.cycle,
            "commit_id": commit_id,
            "epoch": proposal.epoch,
            "status": status,
            "base_cycle": proposal.base_cycle,
            "started_at": row.started_at if row else moment,
            "finished_at": moment,
            "result": json.dumps(result),
            "staged": json.dumps(proposal.staged.to_json()),
            "scn_last": scn_last,
        },
    )
