"""Events as Python objects: Python's own values, made lazily."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import bson

from differ.formats.events import change_events
from differ.model import Window
from tests.formats import factory


def test_an_event_has_pythons_own_values() -> None:
    (event,) = change_events(factory.batch([("insert", None, factory.FULL_ROW)], factory.EVERY_TYPE))
    assert event.after is not None
    row = dict(event.after)
    assert row.pop("nanos").value == factory.FULL_ROW["nanos"]
    assert row.pop("document") == {
        "_id": bson.ObjectId("65f000000000000000000001"),
        "count": 9007199254740993,
        "address": {"city": "Pune"},
    }
    assert row["uid"] == uuid.UUID("12345678-1234-5678-1234-567812345678")
    assert row["number"] == Decimal("123456789012345678901234567890.5")
    assert row["price"] == Decimal("19.9")
    assert row["day"] == date(2026, 11, 23)
    assert row["at"] == time(23, 59, 59, 999_999)
    assert row["took"] == timedelta(days=-1, microseconds=5)
    assert row["instant"] == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert row["local"].tzinfo is None
    assert row["raw"] == b"\x00\xffab"
    assert row["labels"] == {"x": 1, "y": None}
    assert row["place"] == {"city": "Pune", "zip": 411001}


def test_an_event_says_what_its_batch_says() -> None:
    window = Window(first=41, last=57)
    batch = factory.batch(
        [("insert", None, factory.order(1)), ("update", factory.order(2), factory.order(2, "gone"))],
        first_scn=50,
        window=window,
    )
    insert, update = change_events(batch)
    assert (insert.scn, update.scn) == (50, 51)
    assert (insert.op, update.op) == ("insert", "update")
    assert (insert.before, update.changed) == (None, ("status",))
    assert update.key == {"order_id": 2}
    assert (update.stream, update.source, update.cycle, update.schema) == (factory.STREAM, "orders", 3, 2)
    assert (update.window, update.seen_unchanged_at, update.detected_at) == (window, factory.SEEN, factory.DETECTED)
    assert not update.baseline


def test_a_reader_that_stops_early_meets_no_later_row() -> None:
    # The last row's document is no JSON at all; only a reader that gets there may notice.
    rows = [{"id": n, "document": None} for n in range(5_000)]
    schema = factory.EVERY_TYPE.select(["id", "document"])
    batch = factory.batch([("insert", None, row) for row in rows], schema)
    events = change_events(batch)
    assert [next(events).scn for _ in range(3)] == [41, 42, 43]
    assert sum(1 for _ in events) == 4_997
