"""An open snapshot: the state of a source, merged from base and deltas by the index.

`state(n) = base + deltas`: the index says which rows are alive, so merging is a mask and never a join.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from differ.errors import CorruptionError, NotKeptError
from differ.records.types import Schema
from differ.snapshots.index import Index, open_index
from differ.snapshots.manifest import Manifest
from differ.snapshots.parts import PartReader

if TYPE_CHECKING:
    import pandas


class Snapshot:
    """The state of `manifest.source` after cycle `manifest.cycle`; files are verified as they are opened.

    is_kept: asked when a file is damaged or missing; False says that retention let go of it meanwhile, and makes the
    CorruptionError a NotKeptError.
    """

    def __init__(
        self, root: Path, manifest: Manifest, *, scn: int = 0, is_kept: Callable[[], bool] = lambda: True
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.scn = scn
        self._is_kept = is_kept
        self._what = f"snapshot {manifest.source}/{manifest.cycle}"

    @property
    def schema(self) -> Schema:
        """The schema of its rows."""
        return self.manifest.schema

    @property
    def rows(self) -> int:
        """How many rows are alive."""
        return self.manifest.rows

    @cached_property
    def index(self) -> Index:
        """The fingerprint index, memory-mapped."""
        with self.reading():
            return self.open_index()

    def open_index(self) -> Index:
        """The fingerprint index, opened anew, for whoever need not keep it."""
        manifest = self.manifest
        return open_index(self.root, manifest.index, manifest.source, deltas=manifest.index_deltas)

    @cached_property
    def parts(self) -> PartReader:
        """The rows by location."""
        return PartReader(self.root, self.manifest.parts, self.schema.arrow, self._what)

    def take(self, locations: np.ndarray[Any, np.dtype[np.int64]]) -> pa.RecordBatch:
        """The rows at these ascending locations."""
        with self.reading():
            return self.parts.take(locations)

    def rows_at(self, locations: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[pa.RecordBatch]:
        """The rows at these ascending locations, in their order, in a batch for each row group that holds some."""
        with self.reading():
            yield from self.parts.rows_at(locations)

    def located(
        self, *, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.int64]], pa.RecordBatch]]:
        """Live rows with their locations, one row group at a time, in location order."""
        alive = self.index.live(self.manifest.part_rows)
        with self.reading():
            for first, group in self.parts.groups(columns=columns):
                locations = np.arange(first, first + group.num_rows, dtype=np.int64)
                if alive is None:
                    yield locations, group
                    continue
                mask = alive[first : first + group.num_rows]
                if mask.any():
                    yield locations[mask], group.filter(pa.array(mask))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around whatever reads files of the snapshot: where retention let it go meanwhile, say so, not that it is
        damaged."""
        try:
            yield
        except CorruptionError as error:
            if self._is_kept():
                raise
            raise not_kept(self.manifest.source, self.scn) from error

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Live rows in bounded batches, in storage types."""
        for _, batch in self.located():
            yield batch

    def to_arrow(self) -> pa.Table:
        """All live rows; memory grows with the source."""
        return pa.Table.from_batches(self.to_batches(), schema=self.schema.arrow)

    def to_pandas(self) -> pandas.DataFrame:
        """All live rows as a data frame with Arrow-backed columns, so that no value changes."""
        import pandas

        frame: pandas.DataFrame = self.to_arrow().to_pandas(types_mapper=pandas.ArrowDtype)
        return frame


def not_kept(source: str, scn: int) -> NotKeptError:
    """The error for a snapshot that retention removed."""
    return NotKeptError(
        f"read snapshot {source} as of SCN {scn}: it is no longer kept",
        hint=f"raise 'snapshots.keep' of {source!r} for the future; 'differ events' may still hold the changes",
    )
