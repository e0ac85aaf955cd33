"""Faster ways for rows to travel than a driver's: what they have in common.

    driver's thread:   fetch a block of raw bytes ---> fetch the next one ------> ...
    helper's thread:                               parse the block into Arrow --> ...

A path reads on the snapshot's own connection, so it sees the same state as everything else of the scan. Fetching holds
the GIL for a part of a microsecond a row, parsing hardly ever, so the two overlap.
Invariant: what is parsed is what the driver's rows would have given, value by value; at most two blocks are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import pyarrow as pa

BLOCK_BYTES = 8 * 2**20
"""A block ends with the row that passes this size, however few its rows are."""

Block = TypeVar("Block")
Batch = TypeVar("Batch")


class FastPath(Protocol):
    """A faster way of reading one relation; only `blocks` and `abandon` are bound to the snapshot's thread."""

    @property
    def name(self) -> str:
        """What `--explain` tells."""

    def blocks(self, rows_max: int, check: Callable[[], None]) -> Iterator[Any]:
        """The raw rows in blocks of at most `rows_max`; `check` is called often, also while the server is silent.

        Raises what the driver raises.
        """

    def arrays(self, block: Any) -> list[pa.Array]:
        """One array of its storage type for each field; raises one of MISFITS for a value that has no place in it."""

    def cells(self, block: Any) -> Sequence[pa.Array | Sequence[Any]]:
        """What the server sent for each field: an array of texts, or the driver's values where it has no text."""

    def abandon(self) -> None:
        """Give up what was not read to its end, without reading on."""


def ahead(blocks: Iterator[Block], parse: Callable[[Block], Batch]) -> Iterator[Batch]:
    """What `parse` makes of each block, in order; a block is parsed in another thread while the next one is fetched.

    Raises what `blocks` and `parse` raise.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="differ-parse") as helper:
        waiting: Future[Batch] | None = None
        for block in blocks:
            following = helper.submit(parse, block)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
