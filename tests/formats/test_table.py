"""Rows for people: what changed, old -> new, also inside documents."""

from __future__ import annotations

from typing import Any

import pytest

from differ.formats.table import EventRow, event_row, event_rows, key_text, show
from differ.records import types as t
from tests.formats import factory

DOCUMENTS = factory.schema("_id", _id=t.JSON, document=t.JSON)
OID = {"$oid": "65f000000000000000000001"}


def _document_update(old: Any, new: Any) -> EventRow:
    before, after = {"_id": OID, "document": old}, {"_id": OID, "document": new}
    (row,) = event_rows(factory.batch([("update", before, after)], DOCUMENTS))
    return row


def test_an_update_shows_each_changed_column_old_and_new() -> None:
    (row,) = event_rows(factory.batch([("update", factory.order(7), factory.order(7, "shipped", None))]))
    assert (row.scn, row.op, row.source, row.key) == (41, "update", "orders", "7")
    assert [str(change) for change in row.changes] == ["status: paid -> shipped", "total: 19.90 -> null"]
    assert row.detail == "status: paid -> shipped; total: 19.90 -> null"


def test_an_insert_and_a_delete_show_the_row_without_its_key() -> None:
    events = [("insert", None, factory.order(7)), ("delete", factory.order(8, "old"), None)]
    insert, delete = event_rows(factory.batch(events, baseline=True))
    assert (insert.detail, insert.changes, insert.baseline) == ("status=paid, total=19.90", (), True)
    assert delete.detail == "status=old, total=19.90"


def test_a_document_shows_the_paths_inside_it() -> None:
    row = _document_update(
        {"address": {"city": "Pune", "lines": ["a", "b"]}, "gone": {"$numberInt": "1"}, "same": "x"},
        {"address": {"city": "Delhi", "lines": ["a", "c"]}, "same": "x", "new": {"deep": True}},
    )
    assert row.key == "65f000000000000000000001"
    assert [str(change) for change in row.changes] == [
        "document.address.city: Pune -> Delhi",
        "document.address.lines[1]: b -> c",
        "document.gone: - 1",
        'document.new: + {"deep": true}',
    ]


def test_a_document_with_a_tag_for_a_name_is_walked_and_tagged_keys_are_shown() -> None:
    wrapped = [{"$document": {"$numberLong": text, "a": "x"}} for text in ("5", "6")]
    row = _document_update({"v": wrapped[0]}, {"v": wrapped[1]})
    assert [str(change) for change in row.changes] == ["document.v.$numberLong: 5 -> 6"]
    assert key_text({"a": {"$numberLong": "7"}, "b": 7, "c": OID}) == f'a={{"$numberLong":"7"}}, b=7, c={OID["$oid"]}'


def test_values_that_look_alike_still_show_a_change() -> None:
    row = _document_update({"n": {"$numberInt": "7"}}, {"n": {"$numberLong": "7"}})
    assert [change.path for change in row.changes] == ["document"]
    (change,) = _document_update({"n": {"$numberInt": "1"}}, {"n": True}).changes
    assert str(change) == "document.n: 1 -> true"


def test_a_list_of_another_length_and_a_tagged_value_are_shown_whole() -> None:
    (change,) = _document_update({"xs": ["a"]}, {"xs": ["a", "b"]}).changes
    assert str(change) == 'document.xs: ["a"] -> ["a", "b"]'
    other = {"$oid": "65f000000000000000000002"}
    (change,) = _document_update({"ref": OID}, {"ref": other}).changes
    assert str(change) == f"document.ref: {OID['$oid']} -> {other['$oid']}"


def test_a_column_that_came_or_went_shows_which() -> None:
    event = {
        "scn": 1, "op": "update", "source": "s", "key": {"id": 1}, "changed": ["new", "old"],
        "before": {"id": 1, "old": "x"}, "after": {"id": 1, "new": 5},
    }  # fmt: skip
    assert [str(change) for change in event_row(event).changes] == ["new: + 5", "old: - x"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ({"id": 7}, "7"),
        ({"region": "eu", "id": 7}, "region=eu, id=7"),
        ({"_id": OID}, OID["$oid"]),
        ({"name": "x" * 300}, "x" * 300),
    ],
)
def test_keys_are_plain_and_whole(key: dict[str, Any], text: str) -> None:
    assert key_text(key) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), ("null", '"null"'), ("", '""'), (" x", '" x"'), (True, "true"), (1.5, "1.5"),
        ("a\nb\tc", "a\\nb\\tc"), ({"$date": "2026-01-01T00:00:00Z"}, "2026-01-01T00:00:00Z"), ({}, "{}"),
    ],
)  # fmt: skip
def test_values_are_shown_so_that_they_cannot_be_mistaken(value: Any, text: str) -> None:
    assert show(value) == text


def test_a_long_value_is_cut_in_its_middle_and_keeps_both_ends() -> None:
    text = show("start" + "x" * 500 + "end")
    assert len(text) == 40
    assert text.startswith("start")
    assert text.endswith("end")
    assert "…" in text


def test_a_wide_row_names_some_fields_and_counts_the_others() -> None:
    schema = factory.schema("id", id=t.INT, **{f"c{n}": t.INT for n in range(9)})
    row = {"id": 1, **{f"c{n}": n for n in range(9)}}
    (shown,) = event_rows(factory.batch([("insert", None, row)], schema))
    assert shown.summary == "c0=0, c1=1, c2=2, c3=3, c4=4, c5=5, … 3 more"
