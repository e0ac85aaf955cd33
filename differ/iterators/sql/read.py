"""Rows to record batches: one pass on the server, a bounded number of batches in memory, a column at a time.

This is the one place that decides how rows travel: by the dialect's faster path where it has one for this relation,
else, and for lookups always, as the rows of SQLAlchemy's server-side cursor. Every path reads on the snapshot's own
connection, and the type-fidelity tests pass through each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from differ.errors import RecordError
from differ.executors.ahead import ahead
from differ.iterators.contract import Context
from differ.iterators.sql.errors import mapped
from differ.iterators.sql.fields import Field, schema_of
from differ.iterators.sql.paths import FastPath
from differ.iterators.sql.relation import Relation, statement
from differ.iterators.sql.snapshot import Snapshot

MISFITS = (pa.ArrowException, RecordError, ValueError, ArithmeticError, TypeError)
"""What a conversion raises for a value that has no place in its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How to read the rows of one relation in one snapshot. path: the faster way, or why there is none."""

    ctx: Context
    snapshot: Snapshot
    relation: Relation
    fields: Sequence[Field]
    key: tuple[str, ...]
    batch_rows: int
    path: FastPath | str

    def all(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in batches of at most `batch_rows`.

        Raises SourceUnavailableError when the server goes away, RecordError for a value without an exact place in its
        column's type, InterruptedScanError. Cost: one pass on the server, two or three batches in memory.
        """
        if isinstance(self.path, str):
            yield from self.some()
            return
        path, ended = self.path, False
        with mapped(self.ctx.source, "read rows"):
            blocks = path.blocks(self.batch_rows, self.ctx.check_cancelled)
            try:
                yield from ahead(blocks, self._parsed, path.helpers)
                self.snapshot.dialect.verify(self.ctx.source, self.snapshot.connection)
                ended = True
            finally:
                if not ended:
                    path.abandon()
                blocks.close()

    def some(self, condition: str | None = None, binds: dict[str, Any] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows where `condition` holds, as `all` does; by the cursor, one batch in memory."""
        expressions = ", ".join(field.expression for field in self.fields)
        text = statement(self.relation.select(expressions, condition), binds)
        options = {"stream_results": True, "yield_per": self.batch_rows}
        with mapped(self.ctx.source, "read rows"):
            result = self.snapshot.connection.execute(text, execution_options=options)
            ended = False
            try:
                for rows in result.partitions(self.batch_rows):
                    self.ctx.check_cancelled()
                    yield self._converted(list(zip(*rows, strict=True)))
                self.snapshot.dialect.verify(self.ctx.source, self.snapshot.connection)
                ended = True
            finally:
                if not ended:
                    self.snapshot.dialect.abandon(self.snapshot.connection)
                result.close()

    def _parsed(self, block: Any) -> pa.RecordBatch:
        assert not isinstance(self.path, str)  # noqa: S101
        try:
            return self._batch(self.path.arrays(block))
        except MISFITS:
            # A value that does not fit is found among the single cells; else it is the block that is wrong.
            self._converted(self.path.cells(block))
            raise

    def _converted(self, cells: Sequence[pa.Array | Sequence[Any]]) -> pa.RecordBatch:
        arrays = []
        for field, values in zip(self.fields, cells, strict=True):
            try:
                arrays.append(_converted(field, values))
            except MISFITS:
                raise self._misfit(field, values, cells) from None
        return self._batch(arrays)

    def _batch(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(arrays, schema=schema_of(self.fields, self.key).arrow)

    def _misfit(self, field: Field, values: Sequence[Any], cells: Sequence[Sequence[Any]]) -> RecordError:
        """Find the value that does not fit and name its row by the key."""
        index = next((index for index in range(len(values)) if not _fits(field, values[index : index + 1])), 0)
        names = [item.name for item in self.fields]
        key = {name: self._shown(names.index(name), cells, index) for name in self.key}
        shown = repr(_value(values[index]))
        return RecordError(
            f"scan {self.ctx.source}: column {field.name!r} ({field.column.declared}) of the row {key} holds "
            f"{shown if len(shown) <= 60 else shown[:57] + '...'}, which is no {field.column.type}",
            hint=f"list it under the option `as_text: [{field.name}]` to read the column as the database's own text",
        )

    def _shown(self, place: int, cells: Sequence[Sequence[Any]], index: int) -> Any:
        """A value of the key: of a text what it means, where it means something."""
        values = cells[place][index : index + 1]
        if isinstance(values, pa.Array) and _fits(self.fields[place], values):
            values = _converted(self.fields[place], values)
        return _value(values[0])


def _converted(field: Field, values: Any) -> pa.Array:
    if isinstance(values, pa.Array) and field.text is not None:
        return field.text.parse(values.cast(pa.string()))
    return field.convert(values)


def _fits(field: Field, values: Any) -> bool:
    try:
        _converted(field, values)
    except MISFITS:
        return False
    return True


def _value(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value
