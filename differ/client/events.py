"""A batch of events as a program is given it: columns, a data frame, or one `ChangeEvent` after another.

Invariant: all three show the same events of one source inside one window, ascending by SCN. Columns are not copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from differ.formats.arrow import event_table
from differ.formats.batch import EventBatch
from differ.formats.cursor import Cursor
from differ.formats.events import change_events
from differ.model import ChangeEvent, Window

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Events:
    """Some events of one source; iterate for `ChangeEvent`s, which are made as they are asked for.

    cursor: the place after the last of them, to resume from (`Client.batches(since=events.cursor)`).
    """

    __slots__ = ("batch", "cursor")

    def __init__(self, batch: EventBatch, cursor: Cursor) -> None:
        self.batch = batch
        self.cursor = cursor

    def __len__(self) -> int:
        return len(self.batch)

    def __iter__(self) -> Iterator[ChangeEvent]:
        return change_events(self.batch)

    @property
    def source(self) -> str:
        """The source that all of them are of."""
        return self.batch.source

    @property
    def window(self) -> Window:
        """The window that all of them are in."""
        return self.batch.window

    @property
    def stream(self) -> str:
        """The stream's id."""
        return self.batch.stream

    def to_arrow(self) -> pa.Table:
        """A table with the columns of the `arrow` format: scn, source, op, key, before, after, changed, ..."""
        return event_table(self.batch)

    def to_pandas(self) -> pd.DataFrame:
        """The same as a data frame with Arrow-backed columns, so that no value changes. Imports pandas."""
        import pandas as pd

        frame: pd.DataFrame = self.to_arrow().to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def __repr__(self) -> str:
        return f"<Events: {len(self)} of {self.source} up to SCN {self.cursor.scn}>"
