"""Texts that a Parquet file keeps in dictionaries take another road through a scan, and end as any text does."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cycle.world import DELTAS, World

WORDS = ["", "a", "é" * 20, "new\nline", '"quoted"', "\x00", "z" * 300]


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    texts = [None, *WORDS]
    return [
        {"id": number, "t": chance.choice(texts), "b": (chance.choice(texts) or "").encode(), "n": number % 7}
        for number in range(count)
    ]


def write(path: Path, state: list[dict[str, Any]], *, dictionaries: bool, group: int = 400) -> None:
    table = pa.Table.from_pylist(
        state, pa.schema([("id", pa.int64()), ("t", pa.string()), ("b", pa.binary()), ("n", pa.int64())])
    )
    pq.write_table(table, path, use_dictionary=dictionaries, row_group_size=group)


@pytest.fixture
def lake(world: World) -> World:
    world.source("t", iterator="files", options={"path": "t.parquet"}, key="id", snapshots=DELTAS)
    return world


@pytest.mark.usefixtures("kernels_or_not")
def test_how_texts_are_written_is_no_change_and_their_changes_are_events(lake: World) -> None:
    path = lake.folder / "t.parquet"
    state = rows(3_000, seed=1)
    for dictionaries in (True, False, True):
        random.Random(dictionaries).shuffle(state)
        write(path, state, dictionaries=dictionaries, group=400 if dictionaries else 1_000)
        result = lake.commit("t")
        assert result.changes == (3_000 if result.cycle == 1 else 0)
    by_id = {row["id"]: row for row in state}
    for number in range(0, 300, 3):
        by_id[number] = {**by_id[number], "t": f"new {number}", "b": b"new"}
        del by_id[number + 1]
    by_id |= {9_000 + number: {"id": 9_000 + number, "t": "a", "b": b"a", "n": 1} for number in range(50)}
    write(path, list(by_id.values()), dictionaries=True)
    result = lake.commit("t")
    assert (result.inserts, result.updates, result.deletes) == (50, 100, 100)
    assert set(lake.state("t")) == {(key,) for key in by_id}
    assert lake.fold("t") == lake.state("t")
    exported = lake.project.snapshot("t").to_arrow()
    assert [exported.schema.field(name).type for name in ("t", "b")] == [pa.string(), pa.binary()]
    assert {row["id"]: row for row in exported.to_pylist()} == by_id


def test_rules_and_keys_of_repeated_texts(lake: World) -> None:
    path = lake.folder / "t.parquet"
    state = [{"id": number, "t": f"key {number % 500}", "b": b"same", "n": number // 500} for number in range(1_000)]
    lake.settings["sources"]["t"]["key"] = ["t", "n"]
    lake.source("t", columns={"mask": {"b": "hidden"}, "exclude": ["id"]})
    write(path, state, dictionaries=True)
    lake.commit("t")
    assert {row["b"] for row in lake.state("t").values()} == {"hidden"}
    assert ("key 499", 1) in lake.state("t")
    write(path, [*state, state[7]], dictionaries=True)
    result = lake.scan("t")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert 'the key {"n":0,"t":"key 7"} came twice' in (result.error or "")


def test_invalid_utf8_in_a_dictionary_is_refused(lake: World) -> None:
    table = pa.table({"id": list(range(2_000)), "t": pa.array([b"\xff", b"ok"] * 1_000, pa.binary())})
    text = pa.Array.from_buffers(pa.string(), 2_000, table.column("t").combine_chunks().buffers())
    pq.write_table(table.set_column(1, "t", text), lake.folder / "t.parquet", use_dictionary=["t"])
    result = lake.scan("t")
    assert result.status == "failed"
    assert "not valid UTF-8" in (result.error or "")
