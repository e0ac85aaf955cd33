"""A consumer group as rows of the consumers' database: one of the group, one a member, one a partition.

Read whole, written as the difference to what was read, inside the caller's write transaction.
Invariant: `load_group` after `store_group` gives the same group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from differ.catalog.consumer_tables import consumers, groups, members, partitions
from differ.catalog.group import Group, Member, Partition
from differ.errors import UsageError
from differ.formats.checkpoint import StreamCheckpoint, checkpoint_from_json


def load_group(connection: Connection, name: str) -> Group | None:
    """The group of this name, or None. A few hundred rows."""
    row = connection.execute(select(groups).where(groups.c.name == name)).first()
    if row is None:
        return None
    group = Group(
        name=name, sources=tuple(json.loads(row.sources)), exclusive=row.exclusive, version=row.version, joins=row.joins
    )
    for found in connection.execute(select(members).where(members.c.group_name == name)):
        group.members[found.id] = Member(
            id=found.id,
            seniority=found.seniority,
            lease_until=found.lease_until,
            lease_seconds=found.lease_seconds,
            client=found.client,
        )
    for found in connection.execute(select(partitions).where(partitions.c.group_name == name)):
        group.partitions[found.number] = Partition(owner=found.owner, token=found.token, checkpoint=found.checkpoint)
    return group


def store_group(connection: Connection, group: Group, before: Group | None) -> None:
    """Write what differs from `before`, what was loaded in this transaction (None: a new group)."""
    values = {
        "sources": json.dumps(group.sources),
        "exclusive": group.exclusive,
        "version": group.version,
        "joins": group.joins,
    }
    old: Group = before or Group(name=group.name, sources=(), exclusive=False)
    if before is None:
        connection.execute(insert(groups).values(name=group.name, **values))
    elif group.version != old.version:
        connection.execute(update(groups).where(groups.c.name == group.name).values(**values))
    for gone in old.members.keys() - group.members.keys():
        connection.execute(delete(members).where(members.c.group_name == group.name, members.c.id == gone))
    for member in group.members.values():
        if member != old.members.get(member.id):
            own: dict[str, Any] = {"seniority": member.seniority, "lease_until": member.lease_until}
            own |= {"lease_seconds": member.lease_seconds, "client": member.client}
            _write(connection, members, {"group_name": group.name, "id": member.id}, own, member.id in old.members)
    for number, (was, found) in enumerate(zip(old.partitions, group.partitions, strict=True)):
        if before is None or was != found:
            own = {"owner": found.owner, "token": found.token, "checkpoint": found.checkpoint}
            _write(connection, partitions, {"group_name": group.name, "number": number}, own, before is not None)


def adopt_consumer(connection: Connection, name: str, sources: Sequence[str], exclusive: bool) -> Group:
    """A new group; it begins where the plain consumer of its name stands, if there is one, and whose row goes.

    Raises UsageError when that one follows other sources. What it has of a bootstrap is left: the group begins anew.
    """
    group = Group(name=name, sources=tuple(sorted(set(sources))), exclusive=exclusive)
    row = connection.execute(select(consumers).where(consumers.c.name == name)).first()
    if row is None:
        return group
    followed = tuple(sorted(json.loads(row.sources)))
    if followed != group.sources:
        raise UsageError(
            f"join consumer group {name}: a consumer of this name follows {', '.join(followed) or 'all sources'}",
            hint=f"follow the same, take another name, or run 'differ consumers remove {name}'",
        )
    if row.checkpoint is not None and isinstance(checkpoint_from_json(json.loads(row.checkpoint)), StreamCheckpoint):
        group.partitions = [Partition(checkpoint=row.checkpoint)] * len(group.partitions)
    connection.execute(delete(consumers).where(consumers.c.name == name))
    return group


def _write(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any], known: bool) -> None:
    if known:
        where = [table.c[name] == value for name, value in key.items()]
        connection.execute(update(table).where(*where).values(**values))
    else:
        connection.execute(insert(table).values(**key, **values))
