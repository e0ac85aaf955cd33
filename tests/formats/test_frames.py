"""Frames: every event back as it was, encoded or passed through as its segment lies on disk; damage never passes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import CorruptionError, RelayUnavailableError
from differ.formats.batch import EventBatch
from differ.formats.cursor import Cursor
from differ.formats.events import change_events
from differ.formats.frames import encode_frame, frame_head, raw_frame, read_frames
from differ.storage.ipc import IpcWriter
from tests.formats.factory import EVERY_TYPE, FULL_ROW, NULL_ROW, STREAM, order
from tests.formats.factory import batch as make_batch

ORDERS_BATCH = make_batch(
    [("delete", order(1), None), ("update", order(2), order(2, "sent")), ("insert", None, order(3, None))]
)
EVERY_TYPE_BATCH = make_batch([("update", NULL_ROW | {"id": 1}, FULL_ROW), ("insert", None, NULL_ROW)], EVERY_TYPE)
BATCHES = pytest.mark.parametrize("batch", [ORDERS_BATCH, EVERY_TYPE_BATCH], ids=["orders", "every type"])
CURSOR = Cursor(stream=STREAM, scn=41, chain="ab" * 16, floors=2)


def segment(folder: Path, batch: EventBatch, *, pieces: int) -> Path:
    """A segment file of the batch's events in so many record batches."""
    with IpcWriter(folder / "segment.arrow", batch.events.schema, compression="lz4") as writer:
        size = max(1, -(-len(batch) // pieces))
        for piece in batch.chunks(size):
            writer.write(piece.events)
        writer.finish(folder)
    return folder / "segment.arrow"


@BATCHES
def test_an_encoded_frame_gives_the_events_back(batch: EventBatch) -> None:
    frames = list(read_frames(io.BytesIO(encode_frame(batch, CURSOR) * 2)))
    assert len(frames) == 2
    for frame in frames:
        assert list(change_events(frame.batch)) == list(change_events(batch))
        assert frame.cursor == CURSOR.at(batch.scns[-1])
        assert frame.page is None


@BATCHES
def test_a_segment_passes_through_as_it_lies_on_disk(tmp_path: Path, batch: EventBatch) -> None:
    path = segment(tmp_path, batch, pieces=2)
    raw = b"".join(raw_frame(path, frame_head(batch, CURSOR)))
    frames = list(read_frames(io.BytesIO(raw)))
    assert [event for frame in frames for event in change_events(frame.batch)] == list(change_events(batch))
    assert frames[-1].cursor.scn == batch.scns[-1]
    assert [frame.cursor.scn for frame in frames] == [frame.batch.scns[-1] for frame in frames]


def test_a_page_carries_its_cursor() -> None:
    frames = list(read_frames(io.BytesIO(encode_frame(ORDERS_BATCH, CURSOR, page="p7"))))
    assert [frame.page for frame in frames] == ["p7"]


@given(cut=st.integers(min_value=1))
def test_an_answer_that_breaks_off_is_never_taken_for_the_end(cut: int) -> None:
    whole = encode_frame(ORDERS_BATCH, CURSOR)
    end = 1 + cut % (len(whole) - 1)
    with pytest.raises(RelayUnavailableError):
        list(read_frames(io.BytesIO(whole[:end])))


def test_what_is_no_segment_is_not_passed_on(tmp_path: Path) -> None:
    path = segment(tmp_path, ORDERS_BATCH, pieces=1)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptionError):
        list(raw_frame(path, b""))
