"""The page on formats shows what the code writes, and names every format and every field."""

from __future__ import annotations

from differ.formats.ndjson import event_objects
from differ.formats.registry import FORMATS
from tests.formats import examples, factory


def test_the_examples_are_what_the_code_writes() -> None:
    # `python -m tests.formats.examples` writes them anew.
    assert examples.on_page(examples.PAGE.read_text()) == examples.examples()


def test_every_format_and_field_is_described() -> None:
    text = examples.PAGE.read_text()
    (event,) = event_objects(factory.batch([("insert", None, factory.order(1))], baseline=True))
    for name in (*FORMATS, *event):
        assert f"`{name}`" in text
    for one in FORMATS.values():
        assert f"`{one.media_type}`" in text
