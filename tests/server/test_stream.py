"""The stream over HTTP: any place, any filter, any form, in SCN order, each event once, and how far it was looked."""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from differ.formats.events import change_events
from differ.formats.ndjson import event_lines
from differ.formats.partitions import Partitions
from tests.cycle.world import World, numbered
from tests.docs.markdown import ROOT
from tests.relay.test_reading import fill
from tests.server.relay import Relay, Reply

FORMS = ("ndjson", "frames", "arrow", "avro")
Place = tuple[int, str, str, int]


def places(reply: Reply, form: str) -> list[Place]:
    """(scn, source, op, key) of the events in an answer."""
    if form == "ndjson":
        return [(e["scn"], e["source"], e["op"], e["key"]["id"]) for e in reply.lines]
    if form == "frames":
        events = [event for frame in reply.frames for event in change_events(frame.batch)]
        return [(e.scn, e.source, e.op, e.key["id"]) for e in events]
    if not reply.body:
        return []
    rows: Any = (
        pa.ipc.open_stream(reply.body).read_all().to_pylist()
        if form == "arrow"
        else list(fastavro.reader(io.BytesIO(reply.body)))
    )
    assert len({(row["source"], row["schema"]) for row in rows}) == 1
    return [(row["scn"], row["source"], row["op"], row["key"]["id"]) for row in rows]


def followed(relay: Relay, form: str, since: int, **parameters: Any) -> Iterator[Place]:
    """What a client gets that goes on from the cursor while there is more; cursors only ever move on."""
    reply = relay.stream(since=since, format=form, **parameters)
    while True:
        found = places(reply, form)
        assert all(since < place[0] <= reply.scanned for place in found)
        yield from found
        if not reply.has_more:
            assert reply.scanned == int(reply.headers["differ-head"])
            return
        assert reply.scanned > since
        since = reply.scanned
        reply = relay.stream(cursor=reply.cursor, format=form, **parameters)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sources", [[], ["d", "b"], ["a,c"]])
def test_any_place_of_any_sources_in_any_form(world: World, relay: Relay, form: str, sources: list[str]) -> None:
    known = fill(world)
    names = ",".join(sources).split(",") if sources else list("abcd")
    for since in range(len(known) + 1):
        expected = [place for place in known if place[0] > since and place[1] in names]
        assert list(followed(relay, form, since, source=sources)) == expected, since
        if since in (0, 4, 10):
            assert list(followed(relay, form, since, source=sources, limit=2)) == expected, since


def test_lines_and_frames_are_the_events_of_the_project(world: World, relay: Relay) -> None:
    fill(world)
    assert relay.stream().body == b"".join(
        line for batch in world.project.event_batches() for line in event_lines(batch)
    )
    frames = [event for frame in relay.stream(format="frames").frames for event in change_events(frame.batch)]
    assert frames == list(world.project.events())


def test_every_frame_carries_a_cursor_to_resume_at(world: World, relay: Relay) -> None:
    known = fill(world)
    for frame in relay.stream(format="frames").frames:
        last = frame.batch.scns[-1]
        assert frame.cursor.scn == last
        assert places(relay.stream(cursor=frame.cursor.text), "ndjson") == [place for place in known if place[0] > last]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ops", [["insert"], ["delete"], ["update,delete"], ["insert", "update", "delete"]])
def test_ops(world: World, relay: Relay, form: str, ops: list[str]) -> None:
    known = fill(world)
    wanted = ",".join(ops).split(",")
    assert list(followed(relay, form, 0, ops=ops)) == [place for place in known if place[2] in wanted]


@pytest.mark.parametrize("form", FORMS)
def test_partitions_share_out_the_keys(world: World, relay: Relay, form: str) -> None:
    world.fed("a", numbered(*range(300)))
    world.commit("a")
    world.commit("a", numbered(*range(5, 305)))
    whole = list(followed(relay, form, 0))
    assert len(whole) == 600
    parts = [list(followed(relay, form, 0, partition=f"{number}/4")) for number in range(4)]
    assert sorted(place for part in parts for place in part) == whole
    assert all(parts)
    keys = [{place[3] for place in part} for part in parts]
    assert sum(map(len, keys)) == 300
    mixed = list(followed(relay, form, 0, partition="0,2-3/4", limit=7))
    assert mixed == sorted(parts[0] + parts[2] + parts[3])
    for batch in world.project.event_batches():
        chosen = Partitions.parse("1/4").mask(batch).tolist()
        found = [scn for scn, mine in zip(batch.scns, chosen, strict=True) if mine]
        assert [place[0] for place in parts[1] if place[0] in batch.scns] == found


@pytest.mark.parametrize("key", [{"order_id": 7}, {"n": "12345678901234567890"}])
def test_a_key_is_in_the_partition_that_the_page_names(world: World, relay: Relay, key: dict[str, Any]) -> None:
    """What programs in other languages compute from the vectors is what the server filters by, for all time."""
    page = (ROOT / "docs/formats/canonical-bytes.md").read_text(encoding="utf-8")
    text = json.dumps(key, separators=(",", ":"))
    (row,) = re.findall(rf"^\| `{re.escape(text)}` \| `(\w+)` \| (\d+) \| (\d+) \|$", page, re.M)
    world.fed("a", key=next(iter(key)))
    world.commit("a", [key])
    for count, number in ((3, int(row[1])), (256, int(row[2]))):
        assert int(row[0], 16) % count == number
        found = [i for i in range(count) if relay.stream(partition=f"{i}/{count}").scns]
        assert found == [number]


def test_a_filter_that_passes_nothing_still_moves_the_cursor(world: World, relay: Relay) -> None:
    known = fill(world)
    for parameters in ({"ops": "update", "source": "b"}, {"partition": "0/1024", "source": "d"}):
        reply = relay.stream(**parameters)
        assert (reply.body, reply.scanned, reply.has_more) == (b"", len(known), False)
    for form in FORMS:
        reply = relay.stream(source="b", since=5, format=form)
        assert (reply.body, reply.scanned) == (b"", len(known))


def test_the_limit_is_of_events_looked_through(world: World, relay: Relay) -> None:
    fill(world)
    reply = relay.stream(limit=9, ops="delete")
    assert (reply.scns, reply.scanned, reply.has_more) == ([9], 9, True)
    reply = relay.stream(source="d", limit=1)
    assert (reply.scns, reply.scanned, reply.has_more) == ([8], 13, True), "up to just before the next event of d"
    reply = relay.stream(limit=14)
    assert (reply.scanned, reply.has_more) == (14, False)


@pytest.mark.parametrize("form", FORMS)
def test_no_event_at_all_is_asked_for(world: World, relay: Relay, form: str) -> None:
    known = fill(world)
    reply = relay.stream(limit=0, format=form, wait=60)
    assert (reply.body, reply.scanned, reply.has_more) == (b"", 0, True)
    assert reply.headers["differ-head"] == str(len(known))
    reply = relay.stream(limit=0, since=9, source="d", format=form)
    assert (reply.body, reply.scanned, reply.has_more) == (b"", 13, True)


def test_control_lines_tell_windows_and_progress(world: World, relay: Relay) -> None:
    known = fill(world)
    lines = relay.stream(control=1).lines
    marks = [(number, line) for number, line in enumerate(lines) if "control" in line]
    windows = {(event["window"]["first"], event["window"]["last"]) for event in lines if "scn" in event}
    ends = [(mark["window"]["first"], mark["window"]["last"]) for _, mark in marks[:-1]]
    assert ends == sorted(windows)
    for number, mark in marks[:-1]:
        assert mark["control"] == "window_end"
        assert lines[number - 1]["scn"] == mark["window"]["last"]
        assert relay.stream(cursor=mark["cursor"]).scns == [
            place[0] for place in known if place[0] > mark["window"]["last"]
        ]
    reply = relay.stream(control=1, source="a", limit=2)
    progress = reply.lines[-1]
    assert progress == {
        "control": "progress",
        "scanned_through": 2,
        "head": len(known),
        "cursor": reply.cursor,
        "more": True,
    }
    assert [line.get("control") for line in reply.lines] == [None, None, "progress"], "the window goes on"


def test_an_answer_in_one_schema_ends_where_the_schema_changes(world: World, relay: Relay) -> None:
    world.fed("a", numbered("x", "y"))
    world.commit("a")
    world.commit(
        "a", [{"id": 1, "v": "x", "more": 1}, {"id": 2, "v": "y", "more": None}, {"id": 3, "v": "z", "more": None}]
    )
    world.commit("a", [{"id": 1, "v": "x", "more": 2}, {"id": 3, "v": "z", "more": None}])
    assert len(world.project.catalog.schemas("a")) == 2
    plain = list(followed(relay, "ndjson", 0))
    for form in ("arrow", "avro"):
        assert list(followed(relay, form, 0)) == plain
        first = relay.stream(format=form)
        assert (len(places(first, form)), first.scanned, first.has_more) == (2, 2, True)


def test_large_segments_are_read_from_any_place(world: World, relay: Relay) -> None:
    count = 150_000
    world.fed("a", key="id")
    world.commit("a", pa.table({"id": range(1, count + 1), "v": ["text"] * count}))
    for since in (0, 1, 65_534, 65_535, 65_536, 65_537, 131_072, count - 1, count):
        reply = relay.stream(since=since, format="frames")
        scns = [scn for frame in reply.frames for scn in frame.batch.scns]
        assert scns == list(range(since + 1, count + 1))
        few = relay.stream(since=since, limit=3)
        assert few.scns == list(range(since + 1, min(count, since + 3) + 1))
    halves = [relay.stream(format="frames", partition=f"{half}/2").frames for half in range(2)]
    scns = sorted(scn for frames in halves for frame in frames for scn in frame.batch.scns)
    assert scns == list(range(1, count + 1))
    lines = relay.stream(since=count - 30_000).scns
    assert lines == list(range(count - 30_000 + 1, count + 1))


def test_one_event_larger_than_a_chunk(world: World, relay: Relay) -> None:
    rows = [{"id": number, "v": f"{number}" * 3_000_000} for number in range(1, 4)]
    world.fed("a", rows)
    world.commit("a")
    assert [event["after"] for event in relay.stream().lines] == rows
    assert [
        event.after for frame in relay.stream(format="frames").frames for event in change_events(frame.batch)
    ] == rows


def test_more_segments_than_one_answer_holds(world: World, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    known = fill(world)
    for segments in (1, 2, 3):
        monkeypatch.setattr("differ.relay.answer.SEGMENTS_MAX", segments)
        for form in FORMS:
            assert list(followed(relay, form, 0)) == known


def test_an_empty_store(world: World, serve: Callable[..., Relay]) -> None:
    world.fed("a")
    relay = serve()
    for form in FORMS:
        reply = relay.stream(format=form)
        assert (reply.status, reply.body, reply.scanned, reply.has_more) == (200, b"", 0, False)
        assert relay.stream(format=form, cursor=reply.cursor, source="a").cursor == reply.cursor


def test_a_source_that_was_quiet_for_a_million_scns(world: World, relay: Relay) -> None:
    count = 1_000_000
    world.fed("quiet", numbered("x", "y"))
    world.fed("busy")
    world.commit("quiet")
    before = relay.stream(source="quiet")
    world.commit("busy", pa.table({"id": range(count)}))
    idle = relay.stream(source="quiet", cursor=before.cursor)
    assert (idle.body, idle.scanned, idle.has_more) == (b"", count + 2, False)
    world.commit("quiet", numbered("x", "Y"))
    for start in ({"cursor": before.cursor}, {"cursor": idle.cursor}, {"since": 2}, {"since": count // 2}):
        reply = relay.stream(source="quiet", **start)
        assert (reply.scns, reply.scanned, reply.has_more) == ([count + 3], count + 3, False)
    assert relay.stream(source="quiet").scns == [1, 2, count + 3]
    pin = relay.call("POST", "/v1/bootstrap", {"sources": ["quiet"], "consumer": "late"}).json
    assert (pin["scn"], pin["sources"][0]["rows"]) == (count + 3, 2)
    rows = relay.get(f"/v1/bootstrap/{pin['id']}/quiet").lines
    assert sorted(row["after"]["v"] for row in rows) == ["Y", "x"]
    world.commit("quiet", numbered("X", "Y"))
    reply = relay.stream(source="quiet", cursor=pin["cursor"])
    assert (reply.scns, reply.scanned, reply.has_more) == ([count + 4], count + 4, False)


def test_what_only_the_catalog_knows_is_still_read(world: World, serve: Callable[..., Relay]) -> None:
    known = fill(world)
    del world.settings["sources"]["a"]
    world.close()
    assert list(followed(serve(), "ndjson", 0, source=["a"])) == [place for place in known if place[1] == "a"]


def test_headers_are_there_before_the_body(world: World, relay: Relay) -> None:
    fill(world)
    connection = relay.connect()
    connection.request("GET", "/v1/stream?format=frames")
    answer = connection.getresponse()
    assert answer.getheader("Differ-Scanned-Through") == "14"
    assert answer.getheader("Transfer-Encoding") == "chunked"
    assert answer.getheader("Content-Type") == "application/vnd.differ.frames"
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.read()
    connection.request("GET", "/v1/stream?since=13")  # the connection goes on
    assert json.loads(connection.getresponse().read())["scn"] == 14
    connection.close()
