"""The field that a search server refuses is named, its value never."""

from typing import Any

import pytest

from differ.sinks.searchreasons import field_at_fault


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            "[1:11] failed to parse field [placed] of type [date] in document. Preview of field's value: 's'",
            "field 'placed' is mapped as date",
        ),
        (
            "mapper [doc.a.b] cannot be changed from type [long] to [text]",
            "field 'doc.a.b' is long, and here text",
        ),
        (
            "object mapping for [doc] tried to parse field [doc] as object, but found a concrete value",
            "field 'doc' is an object, and here a value",
        ),
        (
            "mapping set to strict, dynamic introduction of [secret] within [_doc] is not allowed",
            "field 'secret' is not in the strict mapping",
        ),
        ("Limit of total fields [1000] has been exceeded", "the index may have 1000 fields"),
        ("a value: failed to parse field [s3cret] of type [date]", None),
        (None, None),
    ],
)
def test_what_a_sentence_says(reason: Any, told: str | None) -> None:
    assert field_at_fault({"type": "illegal_argument_exception", "reason": reason}) == told


def test_an_error_that_is_no_object() -> None:
    assert field_at_fault("document_parsing_exception") is None
