"""Rows to record batches: one server-side cursor, one batch in memory, a column at a time.

This is the one place that decides how rows travel. A faster way for a dialect belongs here, under two conditions: it
reads on the snapshot's own connection, and the type-fidelity tests pass through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from differ.errors import RecordError
from differ.iterators.contract import Context
from differ.iterators.sql.errors import mapped
from differ.iterators.sql.fields import Field, schema_of
from differ.iterators.sql.relation import Relation, statement
from differ.iterators.sql.snapshot import Snapshot


def read_rows(
    ctx: Context,
    snapshot: Snapshot,
    relation: Relation,
    fields: Sequence[Field],
    batch_rows: int,
    condition: str | None = None,
    binds: dict[str, Any] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the relation's rows, where `condition` holds, in batches of at most `batch_rows`.

    Raises SourceUnavailableError when the server goes away, RecordError for a value without an exact place in its
    column's type, InterruptedScan. Cost: one pass on the server, one batch in memory.
    """
    expressions = ", ".join(field.expression for field in fields)
    text = statement(relation.select(expressions, condition), binds)
    schema = schema_of(fields, ()).arrow
    options = {"stream_results": True, "yield_per": batch_rows}
    with mapped(ctx.source, "read rows"):
        result = snapshot.connection.execute(text, execution_options=options)
        ended = False
        try:
            for rows in result.partitions(batch_rows):
                ctx.check_cancelled()
                yield _to_batch(ctx, fields, schema, rows)
            ended = True
        finally:
            if not ended:
                snapshot.dialect.abandon(snapshot.connection)
            result.close()


def _to_batch(ctx: Context, fields: Sequence[Field], schema: pa.Schema, rows: Sequence[Any]) -> pa.RecordBatch:
    arrays = []
    for field, values in zip(fields, zip(*rows, strict=True), strict=True):
        try:
            arrays.append(field.convert(values))
        except (pa.ArrowException, ValueError, ArithmeticError, TypeError):
            raise _misfit(ctx, fields, field, values, rows) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _misfit(
    ctx: Context, fields: Sequence[Field], field: Field, values: Sequence[Any], rows: Sequence[Any]
) -> RecordError:
    """Find the value that does not fit and name its row by the key."""
    index = next((index for index, value in enumerate(values) if not _fits(field, value)), 0)
    names = [item.name for item in fields]
    key = {name: rows[index][names.index(name)] for name in ctx.key if name in names}
    where = f" of the row {key}" if key else ""
    shown = repr(values[index])
    return RecordError(
        f"scan {ctx.source}: column {field.name!r} ({field.column.declared})"
        f"{where} holds {shown if len(shown) <= 60 else shown[:57] + '...'}, which is no {field.column.type}",
        hint=f"list it under the option `as_text: [{field.name}]` to read the column as the database's own text",
    )


def _fits(field: Field, value: Any) -> bool:
    try:
        field.convert([value])
    except (pa.ArrowException, ValueError, ArithmeticError, TypeError):
        return False
    return True
