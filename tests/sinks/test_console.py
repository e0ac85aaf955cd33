"""The `console` sink: lines on the caller's text stream, or in the log."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from differ.errors import SinkUnavailableError
from differ.sinks.console import ConsoleSink
from differ.sinks.contract import SinkContext
from differ.sinks.registry import parse_options
from differ.testing.feed import Feed
from tests.cycle.world import numbered
from tests.sinks.rig import Rig


def console(out: io.StringIO | None, **options: Any) -> ConsoleSink:
    context = SinkContext(name="look", sources=("orders",), project=Path(), state=Path("state"), out=out)
    return ConsoleSink(context, parse_options(ConsoleSink, options, context))


def test_lines_for_people() -> None:
    feed, out = Feed(), io.StringIO()
    changes = [feed.put(7, name="Zoë", total=None), feed.delete(7)]
    console(out).publish(changes, None)
    assert out.getvalue() == "1 orders insert 7: name=Zoë, total=null, at=2026-11-23T10:00:01.25Z\n2 orders delete 7\n"


def test_json_lines(rig: Rig) -> None:
    rig.world.commit("orders", numbered("a\nb"))
    out = io.StringIO()
    runner = rig.start(rig.sink(kind="console", options={"format": "ndjson"}, start="oldest"), out=out)
    rig.until_head(runner)
    (line,) = out.getvalue().splitlines()
    stream = rig.world.project.catalog.stream().stream_id
    assert json.loads(line) == {
        "stream": stream, "scn": 1, "source": "orders", "op": "insert", "key": {"id": 1},
        "document": {"id": 1, "v": "a\nb"},
    }  # fmt: skip


def test_without_a_stream_lines_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "differ.sinks.console"):
        console(None).publish([Feed().put(1, name="a", total=None, at=None)], None)
    assert caplog.messages == ["look: 1 orders insert 1: name=a, total=null, at=null"]


def test_a_reader_that_went_away_is_waited_for() -> None:
    out = io.StringIO()
    out.close()
    with pytest.raises(SinkUnavailableError, match="sink look"):
        console(out).publish([Feed().put(1)], None)
