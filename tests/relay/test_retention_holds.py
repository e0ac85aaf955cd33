"""What consumers and pins hold: never past a pin, never more than the cap, nothing for who must bootstrap anyway."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.catalog import Catalog
from differ.catalog.catalog import raise_floor
from differ.catalog.consumer_entries import ConsumerEntry
from differ.config import RetentionSettings
from differ.formats.checkpoint import BootstrapCheckpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.relay.retention import expired, holds, let_go
from tests.relay.timeline import NOW, Made, cursor, timeline

PLENTY = 10**9
SOURCES = ("a", "b")


def consumer(name: str, *cursors: Cursor | None, sources: Sequence[str] = ()) -> ConsumerEntry:
    """One that stands there, or a group whose partitions do."""
    checkpoints = [StreamCheckpoint(cursor=place) if place else None for place in cursors]
    own = {"checkpoint": checkpoints[0]} if len(cursors) == 1 else {"checkpoint": None}
    parts = dict(enumerate(checkpoints)) if len(cursors) > 1 else {}
    return ConsumerEntry(
        name=name, sources=tuple(sources), created_at=NOW, updated_at=NOW, client=None, partitions=parts, **own
    )


def limits(*, age: float = PLENTY, size: int = PLENTY, hold: int = PLENTY) -> RetentionSettings:
    return RetentionSettings(age_seconds=age, size_bytes=size, hold_for_consumers_bytes=hold)


def kept_after(
    catalog: Catalog, settings: RetentionSettings, behind: Sequence[ConsumerEntry] = (), pinned: Sequence[Cursor] = ()
) -> int:
    """Run retention; returns the last SCN that went."""
    found = expired(catalog, settings, NOW)
    if found is not None:
        let_go(catalog, found, settings, behind=behind, pinned=pinned)
    return catalog.stream().kept_after_scn


def by_the_book(
    windows: Sequence[Made],
    settings: RetentionSettings,
    places: Sequence[tuple[int, Sequence[str]]],
    pins: Sequence[int],
    after: int = 0,
) -> int:
    """The rules, window by window: what goes at the oldest end, while nobody who can still go on needs it."""
    numbered = []
    first = 1
    for window in windows:
        numbered.append((first, first + window.count - 1, window))
        first += window.count
    kept = [item for item in numbered if item[0] > after]
    old = []
    for number, item in enumerate(kept):
        size = sum(window.bytes for _, _, window in kept[number:])
        if timedelta(days=item[2].days).total_seconds() <= settings.age_seconds and size <= settings.size_bytes:
            break
        old.append(item)
    gone = after
    for number, (_, last, _) in enumerate(old):
        held_bytes = sum(window.bytes for _, _, window in old[number:])
        needed = any(
            gone <= scn < last
            and any(end > scn and (not sources or window.source in sources) for _, end, window in kept)
            for scn, sources in places
        )
        if any(pin < last for pin in pins) or (needed and held_bytes <= settings.hold_for_consumers_bytes):
            break
        gone = last
    return gone


shapes = st.lists(
    st.builds(
        Made, count=st.integers(1, 5), days=st.floats(0, 20), bytes=st.integers(0, 50), source=st.sampled_from(SOURCES)
    ),
    max_size=8,
)
subscriptions = st.sampled_from([(), ("a",), ("b",), ("a", "b"), ("none",)])


@given(
    shapes,
    st.lists(st.tuples(st.integers(0, 40), subscriptions), max_size=4),
    st.lists(st.integers(0, 40), max_size=2),
    st.integers(0, 20),
    st.integers(0, 300),
    st.integers(0, 200),
)
def test_retention_is_by_the_book(
    windows: list[Made], places: list[tuple[int, Sequence[str]]], pins: list[int], days: int, size: int, hold: int
) -> None:
    windows = [
        replace(window, days=age)
        for window, age in zip(windows, sorted((w.days for w in windows), reverse=True), strict=True)
    ]
    settings = limits(age=days * 86400, size=size, hold=hold)
    with timeline(windows) as catalog:
        head = catalog.stream().head_scn
        places = [(min(scn, head), sources) for scn, sources in places]
        pins = [min(scn, head) for scn in pins]
        behind = [
            consumer(f"c{number}", cursor(catalog, scn), sources=sources)
            for number, (scn, sources) in enumerate(places)
        ]
        pinned = [cursor(catalog, scn) for scn in pins]
        after = kept_after(catalog, settings, behind, pinned)
        assert after == by_the_book(windows, settings, places, pins)
        assert all(scn >= after for scn in pins)
        assert [w.first for w in catalog.windows(limit=1)] == ([after + 1] if after < head else [])
        assert catalog.segment_bytes() == sum(segment.file.bytes for segment in catalog.segments())
        # The boundary can still be verified, and again is the same.
        assert catalog.standing(after).chain is not None
        assert kept_after(catalog, settings, behind, pinned) == by_the_book(windows, settings, places, pins, after)
        held = holds(catalog, settings, NOW, behind)
        assert pins or all(hold_.within for hold_ in held), "what is beyond the cap was not let down"


ELDERLY = [Made(1, 9, 10), Made(1, 9, 10), Made(1, 9, 10), Made(1, 0, 10)]
WEEK = limits(age=7 * 86400)


def test_a_consumer_holds_what_it_has_not_read() -> None:
    with timeline(ELDERLY) as catalog:
        one = consumer("one", cursor(catalog, 1))
        assert [(hold.consumer, hold.scn, hold.bytes) for hold in holds(catalog, WEEK, NOW, [one])] == [("one", 1, 20)]
        assert kept_after(catalog, WEEK, [one]) == 1
        moved = consumer("one", cursor(catalog, 3))
        assert holds(catalog, WEEK, NOW, [moved]) == []
        assert kept_after(catalog, WEEK, [moved]) == 3


def test_beyond_the_cap_it_is_let_down_and_holds_no_more() -> None:
    with timeline(ELDERLY) as catalog:
        one, two = consumer("one", cursor(catalog, 0)), consumer("two", cursor(catalog, 2))
        tight = WEEK.model_copy(update={"hold_for_consumers_bytes": 20})
        held = holds(catalog, tight, NOW, [two, one])
        assert [(hold.consumer, hold.bytes, hold.within) for hold in held] == [("one", 30, False), ("two", 10, True)]
        assert kept_after(catalog, tight, [one, two]) == 2
        assert [hold.consumer for hold in holds(catalog, tight, NOW, [one, two])] == ["two"]


def test_in_the_middle_of_a_window_the_whole_of_it_is_held() -> None:
    with timeline([Made(5, 9, 10), Made(5, 9, 10), Made(1, 0, 10)]) as catalog:
        assert kept_after(catalog, WEEK, [consumer("one", cursor(catalog, 7))]) == 5


def test_a_group_holds_for_the_partition_that_is_furthest_behind() -> None:
    with timeline(ELDERLY) as catalog:
        group = consumer("group", cursor(catalog, 3), None, cursor(catalog, 1))
        assert kept_after(catalog, WEEK, [group]) == 1


def test_a_bootstrapping_consumer_stands_at_its_pinned_scn() -> None:
    with timeline(ELDERLY) as catalog:
        checkpoint = BootstrapCheckpoint(
            bootstrap="id", generation="g", cursor=cursor(catalog, 2), source="orders", page=None, done=()
        )
        entry = replace(consumer("one", cursor(catalog, 0)), checkpoint=checkpoint)
        assert kept_after(catalog, WEEK, [entry]) == 2


def test_who_must_bootstrap_anyway_holds_nothing() -> None:
    with timeline(ELDERLY) as catalog:
        here = cursor(catalog, 1)
        other_stream = replace(here, stream="6f0c0000-0000-0000-0000-000000000000")
        assert kept_after(catalog, WEEK, [consumer("new", None), consumer("strange", other_stream)]) == 3
    with timeline(ELDERLY) as catalog:
        followers = [consumer("one", cursor(catalog, 1), sources=["orders"])]
        with catalog.writing() as connection:
            raise_floor(connection, "orders", 1)
        assert holds(catalog, WEEK, NOW, followers) == []
        assert kept_after(catalog, WEEK, followers) == 3


@pytest.mark.parametrize("sources", [["orders"], []])
def test_a_floor_of_another_source_does_not_matter_to_who_does_not_follow_it(sources: list[str]) -> None:
    with timeline([*ELDERLY, Made(1, 0, 10, "others")]) as catalog:
        entry = consumer("one", cursor(catalog, 1), sources=sources)
        with catalog.writing() as connection:
            raise_floor(connection, "others", 5)
        assert kept_after(catalog, WEEK, [entry]) == (1 if sources else 3)
