"""Read the parts of an answer from their segment files: verified once, decoded batch by batch, sliced to size.

Many clients read the same events, and some of them stop in mid-answer for hours. So nothing that is decoded belongs to
a client: record batches live in one cache of bounded size for all, and a reader that is suspended holds a place in a
file, no more.

Invariants: a file is served only after its hash was found right, and found again whenever its inode, size or times are
others; a slice holds at least one event and, unless one event is larger, about `slice_bytes`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from differ.catalog import Catalog
from differ.errors import CorruptionError, ScnTooOldError
from differ.formats.batch import EventBatch
from differ.formats.cursor import Cursor
from differ.formats.frames import frame_head, raw_frame
from differ.model import OPS, Op, Window
from differ.relay.answer import Part, Selection
from differ.relay.batches import Batches
from differ.storage import verify
from differ.storage.files import CHECK_HINT
from differ.storage.ipc import open_ipc

CACHE_BYTES = 64 << 20
FILES_MAX = 4096
_ORDINAL_AND_OP = [0, 1]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What one look at a segment file tells: its one op, its schema, and the first ordinal of each record batch, with
    the number of events at the end."""

    op: Op
    schema: pa.Schema
    starts: tuple[int, ...]


class SegmentReader:
    """Reads parts for all clients of a relay; every method may be called from any thread.

    state: the folder that the segments' paths start from.
    """

    def __init__(self, catalog: Catalog, state: Path) -> None:
        self._catalog, self._state = catalog, state
        self._made = Batches(catalog)
        self._layouts: OrderedDict[tuple[object, ...], _Layout] = OrderedDict()
        self._batches = _Cache(CACHE_BYTES)
        self._lock = threading.Lock()

    def passes(self, part: Part, selection: Selection) -> bool:
        """Whether the ops that are wanted are in the part at all; a segment holds one op."""
        return not selection.ops or self._layout(part).op in selection.ops

    def raw(self, part: Part, stream: str, cursor: Cursor) -> Iterator[bytes]:
        """The whole segment as one frame, as it lies on disk, in chunks. cursor: any of its window.

        Raises CorruptionError, and ScnTooOldError where it was let go.
        """
        schema = self._layout(part).schema
        head = frame_head(self._event_batch(part, stream, pa.RecordBatch.from_pylist([], schema=schema)), cursor)
        with self._reading(part):
            yield from raw_frame(self._state / part.segment.file.path, head)

    def slices(self, part: Part, stream: str, selection: Selection, *, slice_bytes: int) -> Iterator[EventBatch]:
        """The part's events that are wanted, in order, in slices of about `slice_bytes` of Arrow memory.

        Suspended at a `yield`, it holds no event. Raises as `raw`.
        """
        layout = self._layout(part)
        if not self.passes(part, selection):
            return
        first = part.segment.first_scn
        low, high = max(part.since + 1 - first, 0), part.until + 1 - first
        for number, start in enumerate(layout.starts[:-1]):
            place, stop = max(low, start), min(high, layout.starts[number + 1])
            while place < stop:
                found, place = self._cut(part, stream, selection, number, (place, stop), slice_bytes)
                if found:
                    yield found.pop()

    def _cut(
        self, part: Part, stream: str, selection: Selection, number: int, span: tuple[int, int], slice_bytes: int
    ) -> tuple[list[EventBatch], int]:
        """The wanted events of a record batch from ordinal span[0] on, and the ordinal to go on with."""
        start = self._layout(part).starts[number]
        events = self._decoded(part, number)
        rows = slice_bytes * events.num_rows // max(events.nbytes, 1)
        if selection.partitions is not None:
            rows = rows * selection.partitions.count // len(selection.partitions.chosen)
        end = min(span[1], span[0] + max(rows, 1))
        batch = self._event_batch(part, stream, events.slice(span[0] - start, end - span[0]))
        if selection.partitions is not None:
            batch = batch.take(pa.array(selection.partitions.mask(batch)))
        return ([batch] if len(batch) else []), end

    def _decoded(self, part: Part, number: int) -> pa.RecordBatch:
        key = (part.segment.file.path, number)
        events = self._batches.get(key)
        if events is None:
            with self._reading(part):
                events = open_ipc(self._state / part.segment.file.path, _what(part)).get_batch(number)
            self._batches.put(key, events)
        return events

    def _event_batch(self, part: Part, stream: str, events: pa.RecordBatch) -> EventBatch:
        window = Window(first=part.window.first, last=part.window.last)
        return self._made.of(part.segment, window, stream, events)

    def _layout(self, part: Part) -> _Layout:
        file = part.segment.file
        with self._reading(part):
            status = (self._state / file.path).stat()
            key = (file.path, file.hash, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            with self._lock:
                if key in self._layouts:
                    self._layouts.move_to_end(key)
                    return self._layouts[key]
            layout = _read_layout(self._state, part)
        with self._lock:
            self._layouts[key] = layout
            while len(self._layouts) > FILES_MAX:
                self._layouts.popitem(last=False)
        return layout

    @contextmanager
    def _reading(self, part: Part) -> Iterator[None]:
        """Tell what fails inside; what is gone because it was let go is not damaged."""
        try:
            yield
        except (CorruptionError, pa.ArrowException, FileNotFoundError, IndexError) as error:
            oldest = self._catalog.stream().oldest_scn
            if part.segment.first_scn < oldest:
                raise ScnTooOldError(
                    f"read {_what(part)}: retention overtook the reader, the oldest that is kept is SCN {oldest}",
                    hint="bootstrap; relay.retention says how long events are kept",
                    oldest=oldest,
                ) from error
            if isinstance(error, CorruptionError):
                raise
            raise CorruptionError(f"read {_what(part)}: {error}", hint=CHECK_HINT) from error


class _Cache:
    """Decoded record batches, the least recently used let go first; the newest stays whatever its size."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._found: OrderedDict[tuple[str, int], pa.RecordBatch] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> pa.RecordBatch | None:
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            return self._found[key]

    def put(self, key: tuple[str, int], events: pa.RecordBatch) -> None:
        with self._lock:
            if key in self._found:
                return
            self._found[key] = events
            self._bytes += events.nbytes
            while self._bytes > self._bytes_max and len(self._found) > 1:
                _, gone = self._found.popitem(last=False)
                self._bytes -= gone.nbytes


def _read_layout(state: Path, part: Part) -> _Layout:
    what = _what(part)
    path = verify(state, part.segment.file, what)
    options = pa.ipc.IpcReadOptions(included_fields=_ORDINAL_AND_OP)
    reader = pa.ipc.open_file(pa.memory_map(str(path)), options=options)
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    starts = [batch.column("ordinal")[0].as_py() for batch in batches]
    count = sum(batch.num_rows for batch in batches)
    op = OPS[batches[0].column("op")[0].as_py()]
    return _Layout(op=op, schema=open_ipc(path, what).schema, starts=(*starts, count))


def _what(part: Part) -> str:
    return f"events {part.segment.first_scn}..{part.segment.last_scn} of {part.segment.source}"
