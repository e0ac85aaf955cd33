"""What the tests of the sql iterator share: run SQL, scan, and look at what came."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from differ.iterators.contract import Context
from differ.iterators.sql import sql
from differ.records.types import Schema
from differ.records.values import python_column

DEFAULTS: dict[str, Any] = {"fast": True}
"""Options of every scan that does not set them; fixtures change them."""


def run(url: str, *statements: str) -> None:
    """Execute statements as the database takes them, and commit."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execution_options(no_parameters=True).exec_driver_sql(statement)
    engine.dispose()


def context(url: str, *, key: Sequence[str] = (), project: Path | str = ".", **options: Any) -> Context:
    """A scan's context; `handle`, `columns_excluded` and `batch_rows` are the context's, the rest are options."""
    own = {name: options.pop(name) for name in ("handle", "columns_excluded") if name in options}
    return Context(source="s", options={"url": url, **DEFAULTS, **options}, key=tuple(key), project=str(project), **own)


def scan(url: str, **options: Any) -> tuple[Schema, pa.Table]:
    """Schema and rows of one scan."""
    plugin = sql(context(url, **options))
    try:
        schema = plugin.schema()
        batches = [batch for split in plugin.splits() for batch in plugin.read(split)]
        return schema, pa.Table.from_batches(batches, schema.arrow)
    finally:
        plugin.close()


def values(schema: Schema, table: pa.Table) -> dict[str, list[Any]]:
    """Python values by column."""
    return {column.name: python_column(table[column.name].combine_chunks(), column.type) for column in schema.columns}


def types(schema: Schema) -> dict[str, str]:
    """Types by column, as texts."""
    return {column.name: str(column.type) for column in schema.columns}


def column_of(url: str, name: str, **options: Any) -> tuple[str, list[Any]]:
    """Type and values of one column of table `t`, in the order of its key `id`."""
    schema, table = scan(url, **{"table": "t", **options})
    return types(schema)[name], values(schema, table.sort_by("id") if "id" in table.column_names else table)[name]
