"""Rows to record batches: one server-side cursor, one batch in memory, a column at a time.

This is the one place that decides how rows travel. A faster way for a dialect belongs here, under two conditions: it
reads on the snapshot's own connection, and the type-fidelity tests pass through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from differ.errors import RecordError
from differ.iterators.contract import Context
from differ.iterators.sql.errors import mapped
from differ.iterators.sql.fields import Field, schema_of
from differ.iterators.sql.relation import Relation, statement
from differ.iterators.sql.snapshot import Snapshot

MISFITS = (pa.ArrowException, RecordError, ValueError, ArithmeticError, TypeError)
"""What a conversion raises for a value that has no place in its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How to read the rows of one relation in one snapshot."""

    ctx: Context
    snapshot: Snapshot
    relation: Relation
    fields: Sequence[Field]
    key: tuple[str, ...]
    batch_rows: int

    def read(self, condition: str | None = None, binds: dict[str, Any] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows, where `condition` holds, in batches of at most `batch_rows`.

        Raises SourceUnavailableError when the server goes away, RecordError for a value without an exact place in its
        column's type, InterruptedScanError. Cost: one pass on the server, one batch in memory.
        """
        expressions = ", ".join(field.expression for field in self.fields)
        text = statement(self.relation.select(expressions, condition), binds)
        schema = schema_of(self.fields, self.key).arrow
        options = {"stream_results": True, "yield_per": self.batch_rows}
        with mapped(self.ctx.source, "read rows"):
            result = self.snapshot.connection.execute(text, execution_options=options)
            ended = False
            try:
                for rows in result.partitions(self.batch_rows):
                    self.ctx.check_cancelled()
                    yield self._to_batch(schema, rows)
                self.snapshot.dialect.verify(self.ctx.source, self.snapshot.connection)
                ended = True
            finally:
                if not ended:
                    self.snapshot.dialect.abandon(self.snapshot.connection)
                result.close()

    def _to_batch(self, schema: pa.Schema, rows: Sequence[Any]) -> pa.RecordBatch:
        arrays = []
        for field, values in zip(self.fields, zip(*rows, strict=True), strict=True):
            try:
                arrays.append(field.convert(values))
            except MISFITS:
                raise self._misfit(field, values, rows) from None
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _misfit(self, field: Field, values: Sequence[Any], rows: Sequence[Any]) -> RecordError:
        """Find the value that does not fit and name its row by the key."""
        index = next((index for index, value in enumerate(values) if not _fits(field, value)), 0)
        names = [item.name for item in self.fields]
        key = {name: rows[index][names.index(name)] for name in self.key}
        shown = repr(values[index])
        return RecordError(
            f"scan {self.ctx.source}: column {field.name!r} ({field.column.declared}) of the row {key} holds "
            f"{shown if len(shown) <= 60 else shown[:57] + '...'}, which is no {field.column.type}",
            hint=f"list it under the option `as_text: [{field.name}]` to read the column as the database's own text",
        )


def _fits(field: Field, value: Any) -> bool:
    try:
        field.convert([value])
    except MISFITS:
        return False
    return True
