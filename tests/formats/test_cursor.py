"""Cursors, checkpoints and partitions: text that comes back as it was, and a clear error for any other text."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import UsageError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint, checkpoint_from_json
from differ.formats.cursor import SCN_MAX, Cursor
from differ.formats.partitions import VIRTUAL, Partitions
from differ.records.keytext import key_texts, partition_hashes
from tests.formats.factory import batch as make_batch
from tests.formats.factory import order

cursors = st.builds(
    Cursor,
    stream=st.uuids().map(str),
    scn=st.integers(0, SCN_MAX),
    chain=st.text("0123456789abcdef", min_size=32, max_size=32),
    floors=st.integers(0, 10**9),
)
checkpoints = st.one_of(
    st.builds(StreamCheckpoint, cursor=cursors),
    st.builds(
        BootstrapCheckpoint,
        bootstrap=st.text(),
        generation=st.text(),
        cursor=cursors,
        source=st.text(),
        page=st.none() | st.text(),
        done=st.lists(st.text()).map(tuple),
    ),
)


@given(cursors)
def test_a_cursor_comes_back(cursor: Cursor) -> None:
    assert Cursor.parse(cursor.text) == cursor


@given(st.text())
def test_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(UsageError):
        Cursor.parse(text)


@given(checkpoints)
def test_a_checkpoint_comes_back(checkpoint: Checkpoint) -> None:
    assert checkpoint_from_json(json.loads(json.dumps(checkpoint.to_json()))) == checkpoint


@pytest.mark.parametrize(
    "body", [{}, {"kind": "stream"}, {"kind": "stream", "cursor": 3}, {"kind": "x", "cursor": "6"}, {"kind": None}]
)
def test_other_bodies_are_no_checkpoint(body: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        checkpoint_from_json(body)


@given(st.integers(1, 600), st.data())
def test_partitions_come_back(count: int, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    partitions = Partitions(count=count, chosen=tuple(sorted(chosen)))
    assert Partitions.parse(partitions.text) == partitions
    assert partitions.is_all == (len(chosen) == count)


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "0/0", "3-1/4", "0/99999", "a/b", "0,/4", "0/4 ", "٣/4"])
def test_other_text_names_no_partition(text: str) -> None:
    with pytest.raises(UsageError, match="partition"):
        Partitions.parse(text)


def test_every_event_is_in_one_partition_that_anybody_can_compute() -> None:
    batch = make_batch([("insert", None, order(number)) for number in range(50)])
    hashes = pa.array(partition_hashes(key_texts(batch.images("key"), batch.schema)))
    position = batch.events.schema.get_field_index("partition")
    batch = replace(batch, events=batch.events.set_column(position, "partition", hashes))
    masks = [Partitions(count=5, chosen=(number,)).mask(batch) for number in range(5)]
    assert sum(mask.astype(int) for mask in masks).tolist() == [1] * len(batch)
    keys = [json.dumps(key, separators=(",", ":")) for key in batch.events.column("key").to_pylist()]
    expected = [xxhash.xxh3_64_intdigest(key.encode()) % 5 for key in keys]
    assert [next(n for n in range(5) if masks[n][i]) for i in range(len(batch))] == expected
    assert VIRTUAL == 256
