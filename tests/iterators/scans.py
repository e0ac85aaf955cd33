"""Read a source as a scan does: whatever batches come, as storage-typed rows of Python values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from differ.iterators import Context, IteratorSpec, Reader
from differ.records.normalize import to_arrow
from differ.records.values import python_column

Rows = list[dict[str, Any]]


def make_context(options: Mapping[str, Any], project: Path | str = ".", **more: Any) -> Context:
    return Context(source="s", options=options, project=str(project), **more)


def read_batches(reader: Reader) -> list[pa.RecordBatch]:
    """All batches of all splits, normalised, and held against the declared schema."""
    schema = reader.schema()
    types = schema.types if schema else {}
    batches = [to_arrow(batch, source="s", types=types) for split in reader.splits() for batch in reader.read(split)]
    if schema:
        for batch in batches:
            assert batch.schema.names == list(schema.names)
    return batches


def read_rows(target: Any, options: Mapping[str, Any], project: Path | str = ".", **more: Any) -> Rows:
    """The rows of one whole scan, as Python values."""
    spec: IteratorSpec = target.__differ_iterator__
    reader = spec.open(make_context(options, project, **more))
    try:
        schema = reader.schema()
        assert schema is not None
        batches = read_batches(reader)
    finally:
        reader.close()
    rows: Rows = []
    for batch in batches:
        columns = {name: python_column(batch.column(name), schema.types[name]) for name in schema.names}
        rows += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return rows


def read_types(target: Any, options: Mapping[str, Any], project: Path | str = ".", **more: Any) -> dict[str, str]:
    """The declared types by column, as people write them."""
    reader = target.__differ_iterator__.open(make_context(options, project, **more))
    schema = reader.schema()
    reader.close()
    assert schema is not None
    return {name: str(type_) for name, type_ in schema.types.items()}
