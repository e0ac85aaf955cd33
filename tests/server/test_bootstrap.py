"""Bootstrap over HTTP: rows of pinned states in pages, in every format, held against retention, gone when they are."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
import urllib3

from differ.formats.cursor import Cursor
from differ.formats.frames import Frame, read_frames
from differ.formats.partitions import Partitions
from differ.relay.watcher import HeadWatcher
from differ.server.app import build_app
from differ.server.pinned import PageCursor
from differ.server.services import Services
from differ.server.serving import Serving
from tests.cycle.world import DELTAS, World, numbered

HTTP = urllib3.PoolManager(retries=False)


@dataclass
class Server:
    """The relay of a world."""

    world: World
    url: str
    hosted: set[str] = field(default_factory=lambda: {"relay", "bootstrap"})

    def call(self, method: str, path: str, status: int = 200, **options: Any) -> urllib3.BaseHTTPResponse:
        """One call, whose status must be this."""
        response = HTTP.request(method, self.url + path, redirect=False, **options)
        assert response.status == status, response.data
        return response

    def pin(self, *sources: str, **more: Any) -> dict[str, Any]:
        """POST /v1/bootstrap."""
        body = {"sources": list(sources), "consumer": "index", **more}
        found: dict[str, Any] = self.call("POST", "/v1/bootstrap", 201, json=body).json()
        return found

    def refused(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        """The error of a call that is refused."""
        error: dict[str, Any] = self.call(method, path, status, **options).json()["error"]
        return error

    def rows(self, pin: dict[str, Any], source: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """All rows as NDJSON, asked for page by page."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            asked = {name: value for name, value in (("cursor", cursor), ("limit", limit)) if value is not None}
            answer = self.call("GET", f"/v1/bootstrap/{pin['id']}/{source}", fields=asked)
            found += [json.loads(line) for line in answer.data.splitlines()]
            cursor = answer.headers["Differ-Cursor"]
            if answer.headers["Differ-More"] == "false":
                return found

    def frames(self, pin: dict[str, Any], source: str, page: str | None = None) -> list[Frame]:
        """The rows as frames, from a page on."""
        asked = {"format": "frames"} | ({} if page is None else {"cursor": page})
        return list(read_frames(io.BytesIO(self.call("GET", f"/v1/bootstrap/{pin['id']}/{source}", fields=asked).data)))


@contextmanager
def serving(world: World) -> Iterator[Server]:
    """A relay over the world, on a free port, until the block ends."""
    watcher = HeadWatcher(world.project.catalog)
    watcher.start()
    server = Server(world, "")
    running = Serving(
        build_app(Services.of(world.project, watcher, "127.0.0.1:0", hosted=lambda name: name in server.hosted)),
        "127.0.0.1:0",
    )
    running.start()
    server.url = running.url
    try:
        yield server
    finally:
        running.stop(grace_seconds=1)
        watcher.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Orders in a base and a delta, with dead rows; parts that never had a cycle; retention as short as can be."""
    retention = {"age": "0s", "size": 0, "hold_for_consumers": 0}
    world = World(tmp_path, relay={"retention": retention})
    world.fed("orders", numbered(*range(200)), snapshots=DELTAS | {"keep": 1})
    world.fed("parts", snapshots={"keep": 1})
    world.commit("orders")
    world.commit("orders", [{"id": i, "v": -i if i % 9 == 0 else i - 1} for i in range(3, 201)])
    yield world
    world.close()


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as server:
        yield server


def state(world: World, source: str = "orders") -> list[dict[str, Any]]:
    return sorted(world.state(source).values(), key=lambda row: row["id"])


def after(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((event["after"] for event in events), key=lambda row: row["id"])


@pytest.mark.parametrize("limit", [None, 1000, 61, 1], ids=str)
def test_every_row_comes_once_as_an_insert_at_the_pinned_scn(server: Server, limit: int | None) -> None:
    pin = server.pin("orders")
    events = server.rows(pin, "orders", limit=limit)
    assert after(events) == state(server.world)
    assert {(event["op"], event["scn"], event["baseline"], event["before"]) for event in events} == {
        ("insert", pin["scn"], True, None)
    }
    assert [(entry["source"], entry["cycle"], entry["rows"]) for entry in pin["sources"]] == [("orders", 2, 198)]


def test_the_stream_goes_on_where_the_rows_stop(server: Server) -> None:
    pin = server.pin()
    assert [entry["source"] for entry in pin["sources"]] == ["orders", "parts"]
    held = {event["key"]["id"]: event["after"] for event in server.rows(pin, "orders")}
    assert server.rows(pin, "parts") == []
    server.world.commit("orders", numbered(7, 8, first=190))
    server.world.commit("parts", numbered(1))
    stream = server.call("GET", "/v1/stream", fields={"cursor": pin["cursor"], "source": "orders"})
    for line in stream.data.splitlines():
        event = json.loads(line)
        held.pop(event["key"]["id"], None)
        if event["after"] is not None:
            held[event["key"]["id"]] = event["after"]
    assert sorted(held.values(), key=lambda row: row["id"]) == state(server.world)
    parts = server.call("GET", "/v1/stream", fields={"cursor": pin["cursor"], "source": "parts"})
    assert [json.loads(line)["op"] for line in parts.data.splitlines()] == ["insert"]


def test_formats_hold_the_same_rows(server: Server) -> None:
    pin = server.pin("orders")
    path = f"/v1/bootstrap/{pin['id']}/orders"
    frames = server.frames(pin, "orders")
    assert {frame.cursor for frame in frames} == {Cursor.parse(pin["cursor"])}
    arrow = pa.ipc.open_stream(server.call("GET", path, fields={"format": "arrow"}).data).read_all()
    avro = list(fastavro.reader(io.BytesIO(server.call("GET", path, fields={"format": "avro"}).data)))
    found = [
        [row["after"] for frame in frames for row in frame.batch.events.to_pylist()],
        arrow.column("after").to_pylist(),
        [event["after"] for event in avro if isinstance(event, dict)],
        [event["after"] for event in server.rows(pin, "orders")],
    ]
    for rows in found:
        assert sorted(rows, key=lambda row: row["id"]) == state(server.world)
    assert set(arrow.column("scn").to_pylist()) == {pin["scn"]}


def test_an_empty_state_is_an_empty_body(server: Server) -> None:
    pin = server.pin("parts")
    for form in ("ndjson", "arrow", "avro", "frames"):
        answer = server.call("GET", f"/v1/bootstrap/{pin['id']}/parts", fields={"format": form})
        assert (answer.data, answer.headers["Differ-More"]) == (b"", "false")


def test_frames_carry_the_page_to_go_on_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("differ.snapshots.pages.PAGE_ROWS", 11)
    with serving(world) as server:
        pin = server.pin("orders")
        frames = server.frames(pin, "orders")
        assert len(frames) > 10
        for number, frame in enumerate(frames):
            rest = server.frames(pin, "orders", frame.page)
            assert [f.batch.events for f in rest] == [f.batch.events for f in frames[number + 1 :]]


def test_partitions_are_the_streams(server: Server) -> None:
    found = []
    for number in range(3):
        partitions = Partitions.parse(f"{number}/3")
        pin = server.pin("orders", partition=partitions.text)
        assert pin["partition"] == partitions.text
        for frame in server.frames(pin, "orders"):
            assert partitions.mask(frame.batch).all()
        rows = server.rows(pin, "orders", limit=50)
        found += rows
    assert after(found) == state(server.world)


def test_fewer_partitions_than_were_pinned(server: Server) -> None:
    pin = server.pin("orders", partition="0-2/4")
    path = f"/v1/bootstrap/{pin['id']}/orders"
    whole = server.rows(pin, "orders")
    parts = [
        json.loads(line)
        for text in ("1/4", "0,2/4")
        for line in server.call("GET", path, fields={"partition": text}).data.splitlines()
    ]
    assert after(parts) == after(whole)
    for text in ("3/4", "1/8", "0-3/4", "x"):
        assert server.refused("GET", path, 400, fields={"partition": text})["code"] == "BAD_REQUEST"


def test_what_is_pinned_stays_whatever_retention_does(server: Server) -> None:
    """With `keep: 1` and events kept for no time at all, everything else goes at each commit."""
    world = server.world
    pin = server.pin("orders", "parts")
    expected = state(world)
    answer = server.call("GET", f"/v1/bootstrap/{pin['id']}/orders", fields={"limit": 50})
    first = [json.loads(line) for line in answer.data.splitlines()]
    for round_ in range(4):
        world.commit("orders", numbered(*range(round_, 40)))
        world.commit("parts", numbered(round_))
        world.project.compact("orders")
        world.project.gc()
    assert world.project.check(read_data=True) == []
    rest = server.call(
        "GET", f"/v1/bootstrap/{pin['id']}/orders", fields={"cursor": answer.headers["Differ-Cursor"]}
    ).data
    assert after(first + [json.loads(line) for line in rest.splitlines()]) == expected
    assert server.call("GET", "/v1/stream", fields={"cursor": pin["cursor"]}).data
    server.call("DELETE", f"/v1/bootstrap/{pin['id']}")
    world.commit("orders", numbered(1))
    world.commit("parts", numbered(9))
    error = server.refused("GET", "/v1/stream", 410, fields={"cursor": pin["cursor"]})
    assert error["code"] == "SCN_TOO_OLD"
    folders = {path.split("/")[2] for path in world.files() if path.startswith("snapshots/orders/")}
    assert all(int(name.split("-")[1]) > 2 for name in folders)  # The pinned cycle was 2; its files are gone.


def test_all_are_those_that_have_a_state_and_those_that_may_come_to_one(world: World) -> None:
    world.fed("past", numbered(1, 2))
    world.commit("past")
    del world.settings["sources"]["past"]
    world.close()
    with serving(world) as server:
        assert [entry["source"] for entry in server.pin()["sources"]] == ["orders", "parts", "past"]
        assert len(server.rows(server.pin(), "past")) == 2
        world.project.catalog.lose_snapshot("past", 1)
        assert [entry["source"] for entry in server.pin()["sources"]] == ["orders", "parts"]


def test_gone_is_told_by_every_call(server: Server) -> None:
    pin = server.pin("orders")
    assert server.call("DELETE", f"/v1/bootstrap/{pin['id']}").json() == {"removed": True}
    assert server.call("DELETE", f"/v1/bootstrap/{pin['id']}").json() == {"removed": False}
    for method, path in (("GET", ""), ("GET", "/orders"), ("POST", "/renew")):
        error = server.refused(method, f"/v1/bootstrap/{pin['id']}{path}", 410)
        assert error["code"] == "BOOTSTRAP_GONE"
        assert "POST /v1/bootstrap" in error["hint"]


def test_a_snapshot_that_a_repair_let_go_is_gone(server: Server) -> None:
    pin = server.pin("orders")
    server.world.project.catalog.lose_snapshot("orders", 2)
    assert server.refused("GET", f"/v1/bootstrap/{pin['id']}/orders", 410)["code"] == "BOOTSTRAP_GONE"
    error = server.refused("POST", "/v1/bootstrap", 503, json={"consumer": "index", "sources": ["orders"]})
    assert "differ scan --source orders" in error["hint"]


def test_damage_is_told_and_never_served(world: World) -> None:
    (part,) = [path for path in world.files() if path.endswith(".parquet") and "cycle-00000001" in path]
    damaged = world.folder / part
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 0x40
    damaged.write_bytes(data)
    with serving(world) as server:
        pin = server.pin("orders")
        error = server.refused("GET", f"/v1/bootstrap/{pin['id']}/orders", 500)
        assert (error["code"], "differ check" in error["hint"]) == ("CORRUPTION", True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda cursor: cursor[:-1], "it is none"),
        (lambda cursor: "x" + cursor[1:], "it is none"),
        (lambda cursor: "é", "it is none"),
        (lambda cursor: "", "it is none"),
        (lambda cursor: "null", "it is none"),
    ],
    ids=["cut", "mistyped", "not ASCII", "empty", "json"],
)
def test_a_page_cursor_that_is_none_is_refused(server: Server, spoil: Callable[[str], str], message: str) -> None:
    pin = server.pin("orders")
    path = f"/v1/bootstrap/{pin['id']}/orders"
    cursor = server.call("GET", path, fields={"limit": 5}).headers["Differ-Cursor"]
    error = server.refused("GET", path, 400, fields={"cursor": spoil(cursor)})
    assert error["code"] == "BAD_REQUEST"
    assert message in error["message"]


def test_a_page_cursor_of_a_snapshot_that_a_restored_store_never_had_ends_the_bootstrap(server: Server) -> None:
    """The pin is there, and a cycle of its number as well: another one, so the client must begin anew."""
    pin = server.pin("orders")
    path = f"/v1/bootstrap/{pin['id']}/orders"
    cursor = PageCursor.parse(server.call("GET", path, fields={"limit": 1}).headers["Differ-Cursor"])
    lost = replace(cursor, manifest="0" * len(cursor.manifest))
    assert server.refused("GET", path, 410, fields={"cursor": lost.text})["code"] == "BOOTSTRAP_GONE"


def test_a_page_cursor_of_another_bootstrap_or_source_is_refused(server: Server) -> None:
    server.world.commit("parts", numbered(1, 2))
    first, second = server.pin(), server.pin()
    cursor = server.call("GET", f"/v1/bootstrap/{first['id']}/orders", fields={"limit": 5}).headers["Differ-Cursor"]
    for path in (f"{second['id']}/orders", f"{first['id']}/parts"):
        error = server.refused("GET", f"/v1/bootstrap/{path}", 400, fields={"cursor": cursor})
        assert "the page cursor is of" in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"consumer": "index", "sources": ["order"]}, 404, "did you mean 'orders'"),
        ({"consumer": "index", "partition": "3/3"}, 400, "no partition 3 of 3"),
        ({"consumer": "", "sources": []}, 400, "no such name"),
        ({"sources": []}, 422, "consumer"),
        ({"consumer": "index", "source": "orders"}, 422, "source"),
        ({"consumer": "index", "sources": "orders"}, 422, "sources"),
    ],
    ids=["unknown source", "partition", "empty name", "no name", "unknown field", "no list"],
)
def test_what_makes_no_sense_is_refused(server: Server, body: dict[str, Any], status: int, text: str) -> None:
    error = server.refused("POST", "/v1/bootstrap", status, json=body)
    assert text in error["message"] + error["hint"]


def test_a_source_that_is_not_pinned_is_not_found(server: Server) -> None:
    pin = server.pin("orders")
    assert server.refused("GET", f"/v1/bootstrap/{pin['id']}/parts", 404)["hint"] == "its sources: orders"
    assert server.refused("GET", f"/v1/bootstrap/{pin['id']}/orders", 422, fields={"limit": 0})["code"] == "INVALID"


def test_a_process_without_the_module_says_where_it_is(server: Server) -> None:
    server.hosted.discard("bootstrap")
    error = server.refused("POST", "/v1/bootstrap", 503, json={"consumer": "index"})
    assert error["code"] == "UNAVAILABLE"


def test_a_process_without_the_module_sends_on_to_its_url(world: World) -> None:
    world.settings["bootstrap"] = {"url": "http://127.0.0.1:7071/differ"}
    world.close()
    with serving(world) as server:
        server.hosted.discard("bootstrap")
        answer = server.call("POST", "/v1/bootstrap?x=1", 307, json={"consumer": "index"})
        assert answer.headers["Location"] == "http://127.0.0.1:7071/differ/v1/bootstrap?x=1"


def test_the_lease_is_the_configured_one(world: World) -> None:
    world.settings["bootstrap"] = {"lease": "90s"}
    world.close()
    with serving(world) as server:
        pin = server.pin("orders")
        assert pin["lease_seconds"] == 90
        assert server.call("GET", f"/v1/bootstrap/{pin['id']}").json() == pin
        assert server.call("POST", f"/v1/bootstrap/{pin['id']}/renew").json() == pin
