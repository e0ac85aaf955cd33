"""Faster ways for rows to travel than a driver's: what they have in common.

    driver's thread:   fetch a block of raw bytes ---> fetch the next one ------> ...
    helper's thread:                               parse the block into Arrow --> ...

A path reads on the snapshot's own connection, so it sees the same state as everything else of the scan. Fetching holds
the GIL for a part of a microsecond a row, parsing hardly ever, so the two overlap.
Invariant: what is parsed is what the driver's rows would have given, value by value; the blocks in memory are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import pyarrow as pa

BLOCK_BYTES = 8 * 2**20
"""A block ends with the row that passes this size, however few its rows are."""


class FastPath(Protocol):
    """A faster way of reading one relation; only `blocks` and `abandon` are bound to the snapshot's thread."""

    @property
    def name(self) -> str:
        """What `--explain` tells."""

    @property
    def helpers(self) -> int:
        """How many threads are to parse."""

    def blocks(self, rows_max: int, check: Callable[[], None]) -> Generator[Any, None, None]:
        """The raw rows in blocks of at most `rows_max`; `check` is called often, also while the server is silent.

        Raises what the driver raises.
        """

    def arrays(self, block: Any) -> list[pa.Array]:
        """One array of its storage type for each field; raises one of MISFITS for a value that has no place in it."""

    def cells(self, block: Any) -> Sequence[pa.Array | Sequence[Any]]:
        """What the server sent for each field: an array of texts, or the driver's values where it has no text."""

    def abandon(self) -> None:
        """Give up what was not read to its end, without reading on."""
