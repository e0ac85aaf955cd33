"""Fingerprints: xxh3_128 of canonical key bytes and canonical row bytes, as NumPy columns.

A hash is two unsigned 64-bit halves, since neither NumPy nor Arrow knows a 128-bit integer. Anybody can check one:
`xxhash.xxh3_128_intdigest(bytes) == hi * 2**64 + lo`. XXH3 is fast and well mixed; it is no proof against somebody who
chooses row values to collide.

Invariant: equal records have equal fingerprints under one layout; keys are compared for real before rows are paired.
Source: xxHash's XXH3; Aesop's and Zeno's idea of a state that is compared by hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from differ.errors import NullKeyError
from differ.records import addresses
from differ.records.canonical import row_bytes
from differ.records.types import Schema

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """The key hash and row hash of N rows, as four columns of N unsigned 64-bit integers."""

    key_hi: Hashes
    key_lo: Hashes
    row_hi: Hashes
    row_lo: Hashes

    def __len__(self) -> int:
        return len(self.key_hi)

    def take(self, rows: npt.NDArray[np.int64]) -> Fingerprints:
        """Those of some rows, in their order."""
        return Fingerprints(self.key_hi[rows], self.key_lo[rows], self.row_hi[rows], self.row_lo[rows])


def fingerprint(batch: pa.RecordBatch, schema: Schema, hashed: Sequence[str]) -> Fingerprints:
    """The fingerprints of a storage-typed batch: key hash over `schema.key`, row hash over the columns `hashed`.

    Text columns may be dictionary-encoded. Vectorised: with the compiled kernels about ten million flat rows a second
    on one thread, without them a third of that. Raises what `row_bytes` raises.
    """
    return Fingerprints(*_hashes(batch, schema, schema.key), *_hashes(batch, schema, hashed))


def _hashes(batch: pa.RecordBatch, schema: Schema, names: Sequence[str]) -> tuple[Hashes, Hashes]:
    found = addresses.hash_rows(batch, schema, names)
    return hash_binary(row_bytes(batch, schema, names)) if found is None else found


def hash_binary(array: pa.BinaryArray | pa.ChunkedArray) -> tuple[Hashes, Hashes]:
    """The high and low halves of xxh3_128 of each value of a binary array without nulls."""
    if len(array) == 0:
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    found = addresses.hash_binary(array)
    if found is not None:
        return found
    import polars as pl
    import polars_hash as plh

    frame = pl.DataFrame({"bytes": pl.from_arrow(array)}).select(hash=plh.col("bytes").nchash.xxh3_128())
    # polars has no way from UInt128 to Arrow or NumPy but through its halves.
    halves = frame.select(
        hi=(pl.col("hash") // 2**64).cast(pl.UInt64), lo=pl.col("hash").cast(pl.UInt64, wrap_numerical=True)
    )
    return halves["hi"].to_numpy(), halves["lo"].to_numpy()


def check_keys(batch: pa.RecordBatch, schema: Schema, *, source: str) -> None:
    """Raise NullKeyError, naming source, column, row and the key's other parts, when a key column holds a null."""
    for name in schema.key:
        column = batch.column(name)
        if not column.null_count:
            continue
        row = pc.index(column.is_null(), True).as_py()
        others = ", ".join(f"{other}={batch.column(other)[row].as_py()!r}" for other in schema.key if other != name)
        where = f"row {row} of the batch" + (f", {others}" if others else "")
        raise NullKeyError(
            f"scan {source}: key column {name!r} is null ({where})",
            hint="choose a key whose columns are never null, or leave such rows out with `where` or `query`",
        )
