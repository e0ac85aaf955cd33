"""Checksums of key ranges, computed by the server in the scan's own snapshot; and reading only some ranges.

    SELECT range of the key, count(*), sum(hash of the row) FROM table GROUP BY 1

How a row is hashed is the dialect's affair (postgresql_sums.py, mariadb_sums.py); whatever it is, the hash covers all
that is read of the row, and rows that are read differently are hashed differently.

Only tables have checksums. A view or query may give other rows when it is asked twice (a LIMIT, a random()), and then
sums and rows would not be of one state.

Invariant: sums and rows of a scan come from one snapshot. Why there are no sums is a text, never an exception: the scan
then reads everything. Only a server that is gone raises.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from differ.errors import redact
from differ.iterators.contract import Context
from differ.iterators.ranges import RANGES_MAX, KeyRanges, KeySample, RangeSums
from differ.iterators.sql.errors import mapped
from differ.iterators.sql.fields import Field
from differ.iterators.sql.read import Rows
from differ.iterators.sql.relation import Relation, quoted, statement
from differ.iterators.sql.snapshot import Snapshot

RUNS_MAX = 100
"""Up to so many runs of neighbouring ranges are found by the key's index; beyond, one pass over the table finds all."""
_FETCH_ROWS = 1 << 16
log = logging.getLogger(__name__)


class SumsDialect(Protocol):
    """How one kind of database makes checksums. Bound to the snapshot's thread."""

    def why_not(self, connection: sa.Connection, relation: Relation) -> str | None:
        """Why the relation can have no checksums, or None where it can."""

    def server(self, connection: sa.Connection) -> list[str]:
        """What of the server the hashes depend on: its version, its encodings."""

    def prepare(self, connection: sa.Connection) -> None:
        """Called before the first sums or rows are read."""

    def begin(self, connection: sa.Connection) -> None:
        """Called before the statement that sums."""

    def end(self, connection: sa.Connection, *, failed: bool) -> None:
        """Called after it; makes the transaction usable again where the statement failed."""

    def range_id(self, key: str, shift: int) -> str:
        """SQL for the number of a key's range."""

    def select(self, relation: Relation, columns: Sequence[tuple[str, Field]], key: str, shift: int) -> str:
        """SQL of a row for each range: its id, its rows, and the sum of their hashes, an integer of which 64 bits
        count. key: an integer column."""


class TableSums:
    """The checksums of one relation in one snapshot."""

    def __init__(
        self, *, ctx: Context, snapshot: Snapshot, relation: Relation, fields: Sequence[Field], rows: Rows
    ) -> None:
        self._ctx, self._snapshot, self._relation, self._rows = ctx, snapshot, relation, rows
        self._fields = fields
        self._sample = KeySample()
        self._connection = snapshot.connection
        self._dialect = _dialect(snapshot.connection.dialect.name)
        self._why_not: str | None = None
        if ctx.range_rows is not None:
            self._why_not = self._find_why_not()
            if self._dialect is not None and self._why_not is None:
                self._dialect.prepare(self._connection)

    @property
    def why_not(self) -> str | None:
        """Why no checksums can be made of this relation, None where they can."""
        return self._why_not

    def sampled(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, looked at on their way: a sample of their keys decides how wide ranges are."""
        wanted = self._ctx.range_rows is not None and self._why_not is None
        for batch in batches:
            if wanted:
                self._sample.add(batch.column(self._rows.key[0]))
            yield batch

    def compute(self, like: RangeSums | None) -> RangeSums | str:
        """The sums of all ranges, of the width of `like`; without it, of the width that the rows read so far ask for.

        Returns a text where there are none, or none that compare with `like`. Raises SourceUnavailableError.
        Cost: one pass on the server, one number of a range to us. Memory: 24 bytes a range, of at most RANGES_MAX.
        """
        if self._why_not is not None or self._dialect is None:
            return self._why_not or "no checksums"
        with mapped(self._ctx.source, "compute checksums"):
            basis = self._basis(self._dialect)
            if like is not None and like.basis != basis:
                return "what is read of the table, its types or the server's version are not what they were"
            shift = self._sample.shift(self._ctx.range_rows or 1) if like is None else like.shift
            found = self._ask(self._dialect, shift)
            self._snapshot.dialect.verify(self._ctx.source, self._connection)
        return found if isinstance(found, str) else _sums(basis, shift, found)

    def read(self, ranges: KeyRanges) -> Iterator[pa.RecordBatch]:
        """The rows of these ranges: by the key's index where they are a few runs, else by one pass over the table."""
        assert self._dialect is not None  # noqa: S101
        key = self._quoted(self._rows.key[0])
        runs = ranges.runs()
        if not runs:
            return
        if len(runs) <= RUNS_MAX:
            condition = " OR ".join(f"{key} BETWEEN {first} AND {last}" for first, last in runs)
        else:
            condition = f"{self._dialect.range_id(key, ranges.shift)} IN ({', '.join(map(str, ranges.ids.tolist()))})"
        yield from self._rows.some(condition)

    def _find_why_not(self) -> str | None:
        if self._dialect is None:
            return f"no checksums are made by {self._snapshot.connection.dialect.name}"
        if not self._snapshot.consistent:
            return "the isolation level gives no one consistent state"
        if self._relation.table is None:
            return "a query may give other rows when it is asked twice; only tables have checksums"
        key = next(field for field in self._fields if field.name == self._rows.key[0])
        if key.column.type.kind != "int":
            return f"the first key column {key.name!r} is no integer but {key.column.type}"
        with mapped(self._ctx.source, "look at the table for checksums"):
            return self._dialect.why_not(self._connection, self._relation)

    def _basis(self, dialect: SumsDialect) -> str:
        fields = [
            [field.name, str(field.column.type), field.column.declared, field.expression] for field in self._fields
        ]
        body = [self._select(dialect, 0), fields, list(self._rows.key), dialect.server(self._connection)]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()

    def _ask(self, dialect: SumsDialect, shift: int) -> list[Any] | str:
        """The rows of the statement's result as arrays, or why there are none."""
        dialect.begin(self._connection)
        failed = True
        try:
            result = self._connection.execute(statement(self._select(dialect, shift)))
            found = []
            for rows in result.partitions(_FETCH_ROWS):
                self._ctx.check_cancelled()
                found.append(rows)
            failed = False
            return found
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            reason = redact(" ".join(str(error.orig).split()))
            log.warning("source=%s: no checksums: %s", self._ctx.source, reason)
            return f"the server refused to compute checksums: {reason}"
        finally:
            dialect.end(self._connection, failed=failed)

    def _select(self, dialect: SumsDialect, shift: int) -> str:
        key = self._quoted(self._rows.key[0])
        columns = [(self._quoted(field.name), field) for field in self._fields]
        return f"{dialect.select(self._relation, columns, key, shift)} LIMIT {RANGES_MAX + 1}"

    def _quoted(self, name: str) -> str:
        return quoted(self._connection, name)


def _sums(basis: str, shift: int, found: Sequence[Any]) -> RangeSums | str:
    count = sum(map(len, found))
    if count > RANGES_MAX:
        return f"the keys fall into more than {RANGES_MAX} ranges; a larger range_rows makes fewer"
    rows = [row for part in found for row in part]
    if any(row[0] is None for row in rows):
        return "a key is NULL"
    ids = np.fromiter((int(row[0]) for row in rows), dtype=np.int64, count=count)
    order = np.argsort(ids)
    return RangeSums(
        basis=basis,
        shift=shift,
        ids=ids[order],
        counts=np.fromiter((int(row[1]) for row in rows), dtype=np.int64, count=count)[order],
        sums=np.fromiter((int(row[2]) % 2**64 for row in rows), dtype=np.uint64, count=count)[order],
    )


def _dialect(name: str) -> SumsDialect | None:
    match name:
        case "postgresql":
            from differ.iterators.sql.postgresql_sums import PostgreSQLSums

            return PostgreSQLSums()
        case "mysql" | "mariadb":
            from differ.iterators.sql.mariadb_sums import MariaDBSums

            return MariaDBSums()
        case _:
            return None
