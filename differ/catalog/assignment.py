"""Who should own which partition of a consumer group: one pure function, so that every relay decides alike.

Balanced within one, sticky (an owner keeps what it may keep, the lowest numbers first, so what it must give up seldom
changes while it gives it up), and deterministic in the members' order and the present owners. It only says what should
be: a partition still moves by itself, when its owner has released it or its lease has ended.

Invariant: granting free partitions to their target, in any order and at any pace, ends at the target.
Source: Kafka's sticky and cooperative-sticky assignors (KIP-54, KIP-429).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def assign(members: Sequence[str], owners: Sequence[str | None], *, exclusive: bool = False) -> list[str | None]:
    """The member that should own each partition, in the order of `owners`; all None where there are no members.

    members: eldest first. owners: who owns each partition now; one that is no member counts as nobody. With `exclusive`
    the eldest has all and the others none. O((partitions + members) x log members).
    """
    if not members:
        return [None] * len(owners)
    if exclusive:
        return [members[0]] * len(owners)
    owned: dict[str, list[int]] = {member: [] for member in members}
    free: list[int] = []
    for number, owner in enumerate(owners):
        owned.get(owner or "", free).append(number)
    target: list[str | None] = [None] * len(owners)
    surplus: list[int] = []
    quotas = _quotas(members, [len(owned[member]) for member in members], len(owners))
    needy: list[tuple[int, int]] = []
    for seniority, member in enumerate(members):
        kept = owned[member][: quotas[seniority]]
        surplus += owned[member][len(kept) :]
        for number in kept:
            target[number] = member
        if len(kept) < quotas[seniority]:
            needy.append((len(kept), seniority))
    heapq.heapify(needy)
    # What is free can be granted at once, so it goes first to whoever has least.
    for number in free + sorted(surplus):
        count, seniority = needy[0]
        target[number] = members[seniority]
        if count + 1 < quotas[seniority]:
            heapq.heapreplace(needy, (count + 1, seniority))
        else:
            heapq.heappop(needy)
    return target


def _quotas(members: Sequence[str], counts: Sequence[int], partitions: int) -> list[int]:
    """How many each may have: all the same, and one more for those that have most already (then for the eldest)."""
    share, extra = divmod(partitions, len(members))
    richest = sorted(range(len(members)), key=lambda seniority: (-counts[seniority], seniority))[:extra]
    return [share + (seniority in richest) for seniority in range(len(members))]
