"""A consumer group as rows of the consumers' database: one of the group, one a member, one a partition.

Read whole, written as the difference to what was read, inside the caller's write transaction.
Invariant: `load_group` after `store_group` gives the same group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

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
    _store_members(connection, group, old)
    _store_partitions(connection, group, before)


def _store_members(connection: Connection, group: Group, old: Group) -> None:
    for gone in old.members.keys() - group.members.keys():
        connection.execute(delete(members).where(members.c.group_name == group.name, members.c.id == gone))
    for member in group.members.values():
        values = {
            "seniority": member.seniority,
            "lease_until": member.lease_until,
            "lease_seconds": member.lease_seconds,
            "client": member.client,
        }
        known = old.members.get(member.id)
        if known is None:
            connection.execute(insert(members).values(group_name=group.name, id=member.id, **values))
        elif known != member:
            where = (members.c.group_name == group.name, members.c.id == member.id)
            connection.execute(update(members).where(*where).values(**values))


def _store_partitions(connection: Connection, group: Group, before: Group | None) -> None:
    rows = [
        {"of_number": number, "owner": found.owner, "token": found.token, "checkpoint": found.checkpoint}
        for number, found in enumerate(group.partitions)
        if before is None or before.partitions[number] != found
    ]
    if before is None:
        new = insert(partitions).values(group_name=group.name, number=bindparam("of_number"))
        connection.execute(new, rows)
    elif rows:
        own = (partitions.c.group_name == group.name, partitions.c.number == bindparam("of_number"))
        connection.execute(update(partitions).where(*own), rows)


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
