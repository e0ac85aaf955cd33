"""A state of manifest format 1 is taken over as it is: the index of that time was always whole, and lay by columns.

`format1.zip` is the folder of a project that differ at commit 2862ff9, the last before index deltas, scanned twice: 24
rows, then 4 of them gone, 5 updated, one new, one moved within its tolerance and all of them in the ignored column. So
it holds a base, a delta, removed keys, and values that were emitted once and are no longer those of the source.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import differ
from differ.model import OPS
from differ.project import Project

Row = dict[str, Any]
HEAD = 24 + 4 + 5 + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The project as the old differ left it."""
    with zipfile.ZipFile(Path(__file__).with_name("format1.zip")) as packed:
        packed.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def project(folder: Path, kernels_or_not: bool) -> Iterator[Project]:
    with differ.open(folder) as opened:
        yield opened


def first() -> list[Row]:
    """What the first scan read."""
    return [
        {"region": ("eu", "us")[i % 2], "id": i, "name": f"order {i}", "weight": i / 4, "seen": 0, "tags": {"n": i}}
        for i in range(24)
    ]


def emitted() -> list[Row]:
    """The last emitted values after the second scan."""
    rows = [row for row in first() if row["id"] % 7]
    for row in rows:
        if row["id"] % 5 == 0:
            row.update(name="changed", seen=1)
        if row["id"] == 3:
            row.update(weight=2.75, seen=1)
    return [*rows, {"region": "eu", "id": 100, "name": None, "weight": None, "seen": 1, "tags": None}]


def stored(project: Project, as_of: int | None = None) -> list[Row]:
    """The rows of a snapshot by id, documents parsed."""
    rows = sorted(project.snapshot("orders", as_of).to_arrow().to_pylist(), key=lambda row: row["id"])
    return [row | {"tags": None if row["tags"] is None else {"n": number(row["tags"])}} for row in rows]


def number(document: str) -> int:
    return int(json.loads(document)["n"]["$numberInt"])


def edit(folder: Path, change: Callable[[dict[int, Row]], None]) -> None:
    """Change the file that the source reads, by id."""
    path = folder / "orders.jsonl"
    rows = {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))


def test_it_is_of_format_1_and_read_as_it_is(folder: Path, project: Project) -> None:
    formats = [json.loads(path.read_text())["format"] for path in folder.rglob("manifest.json")]
    assert formats == [1, 1]
    assert stored(project) == emitted()
    assert stored(project, 24) == first()
    assert project.check(read_data=True) == []


def test_the_same_rows_are_no_change(project: Project) -> None:
    for _ in range(2):
        result = project.scan("orders")
        assert result.status in ("committed", "unchanged"), result
        assert (result.rows, result.changes) == (21, 0)
    assert project.catalog.stream().head_scn == HEAD
    assert stored(project) == emitted()
    assert project.check(read_data=True) == []


@pytest.mark.parametrize("taken_over", [False, True])
def test_changes_are_told_by_what_was_last_emitted(folder: Path, project: Project, taken_over: bool) -> None:
    if taken_over:
        assert project.scan("orders").changes == 0

    def change(rows: dict[int, Row]) -> None:
        del rows[1], rows[5]
        rows[2]["weight"] += 0.5  # read last: 0.75, and that is within the tolerance; but emitted last: 0.5
        rows[4]["weight"] += 0.5
        rows[8]["name"] = "again"
        rows[7] = {"region": "us", "id": 7, "name": "back", "weight": 0.0, "seen": 2, "tags": {"n": 7}}

    edit(folder, change)
    result = project.scan("orders")
    assert (result.inserts, result.updates, result.deletes) == (1, 2, 2), result
    events = [
        event for batch in project.event_batches("orders", since=HEAD) for event in batch.events.to_pylist()
    ]  # fmt: skip
    found = {event["key"]["id"]: (OPS[event["op"]], event["before"], event["after"]) for event in events}
    assert {key: op for key, (op, _, _) in found.items()} == {
        1: "delete", 5: "delete", 2: "update", 8: "update", 7: "insert",
    }  # fmt: skip
    assert [found[5][1]["name"], found[5][1]["seen"]] == ["changed", 1]
    assert [found[2][1]["weight"], found[2][2]["weight"], found[2][1]["seen"]] == [0.5, 1.25, 0]
    expected = {row["id"]: row for row in emitted() if row["id"] not in (1, 5)}
    expected[2].update(weight=1.25, seen=1)
    expected[8].update(name="again", seen=1)
    expected[7] = {"region": "us", "id": 7, "name": "back", "weight": 0.0, "seen": 2, "tags": {"n": 7}}
    assert stored(project) == [expected[key] for key in sorted(expected)]
    assert project.scan("orders").changes == 0
    assert project.check(read_data=True) == []
