"""The assignment of partitions is balanced, sticky, deterministic, and reached by moving partitions one at a time."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from differ.catalog.assignment import assign

PARTITIONS = 256
Owners = list[str | None]


@st.composite
def situations(draw: st.DrawFn, *, partitions: int = PARTITIONS) -> tuple[list[str], Owners]:
    """Members in order of age, and owners: members, ones that are gone, or nobody; often very uneven."""
    members = [f"m{number}" for number in draw(st.permutations(range(draw(st.integers(1, 12)))))]
    owner = st.sampled_from([*members[: draw(st.integers(1, len(members)))], "gone", None])
    return members, draw(st.lists(owner, min_size=partitions, max_size=partitions))


def counts(members: list[str], target: Owners) -> list[int]:
    counter = Counter(target)
    return [counter[member] for member in members]


@given(situations())
def test_every_partition_has_a_member_and_no_member_has_two_more_than_another(found: tuple[list[str], Owners]) -> None:
    members, owners = found
    target = assign(members, owners)
    assert set(target) <= set(members)
    assert max(counts(members, target)) - min(counts(members, target)) <= 1


@given(situations())
def test_it_is_the_same_each_time_and_stays_once_reached(found: tuple[list[str], Owners]) -> None:
    members, owners = found
    target = assign(members, owners)
    assert assign(list(members), list(owners)) == target
    assert assign(members, target) == target


@given(situations())
def test_no_more_moves_than_balance_needs(found: tuple[list[str], Owners]) -> None:
    members, owners = found
    target = assign(members, owners)
    moved = sum(owner in members and owner != to for owner, to in zip(owners, target, strict=True))
    share, extra = divmod(len(owners), len(members))
    most_first = sorted(counts(members, owners), reverse=True)
    needed = sum(max(0, count - share - (place < extra)) for place, count in enumerate(most_first))
    assert moved == needed


@given(situations(partitions=40), st.randoms(use_true_random=False))
def test_whatever_order_they_are_released_in_it_ends_balanced(found: tuple[list[str], Owners], random: Random) -> None:
    members, owners = found
    for _ in range(len(owners) + 1):
        target = assign(members, owners)
        # What is free is granted at once.
        owners = [owner if owner in members else to for owner, to in zip(owners, target, strict=True)]
        target = assign(members, owners)
        moving = [number for number, to in enumerate(target) if owners[number] != to]
        if not moving:
            break
        owners[random.choice(moving)] = None
    assert max(counts(members, owners)) - min(counts(members, owners)) <= 1
    assert assign(members, owners) == owners


@given(situations())
def test_exclusive_gives_all_to_the_eldest(found: tuple[list[str], Owners]) -> None:
    members, owners = found
    assert set(assign(members, owners, exclusive=True)) == {members[0]}


def test_without_members_nobody_owns_anything() -> None:
    assert assign([], ["gone", None]) == [None, None]


def test_members_beyond_the_partitions_stand_by() -> None:
    members = [f"m{number}" for number in range(300)]
    target = assign(members, [None] * PARTITIONS)
    assert counts(members, target) == [1] * PARTITIONS + [0] * 44
