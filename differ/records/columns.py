"""Column rules that apply before anything is stored or hashed: leave out, and mask.

A mask makes a string column: `hmac` gives HMAC-SHA256 in hex, keyed by the project, over the value's text form, so that
equal values stay equal and nobody without the key can find them by trying; another text replaces every value that is
not null; None makes the column null.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from differ.errors import SourceError
from differ.records.keytext import json_column
from differ.records.types import NULL, STRING, Column, LogicalType, Schema

HMAC = "hmac"


@dataclass(frozen=True, kw_only=True)
class ColumnRules:
    """exclude: columns never stored. mask: by column, `hmac`, a fixed text, or None for null."""

    exclude: Collection[str] = ()
    mask: Mapping[str, str | None] = field(default_factory=dict)
    mask_key: bytes = b""

    def schema(self, schema: Schema) -> Schema:
        """The schema of what is left."""
        columns = []
        for column in schema.columns:
            if column.name in self.mask:
                masked = NULL if self.mask[column.name] is None else STRING
                columns.append(Column(name=column.name, type=masked, declared="masked"))
            elif column.name not in self.exclude:
                columns.append(column)
        return Schema(columns=tuple(columns), key=schema.key)

    def apply(self, batch: pa.RecordBatch, before: Schema, after: Schema) -> pa.RecordBatch:
        """The columns of `after` (what `schema` made of `before`). Masking loops over the values of its columns."""
        arrays = [
            self._masked(batch.column(name), before.types[name], self.mask[name])
            if name in self.mask
            else batch.column(name)
            for name in after.names
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=after.arrow)

    def check(self, names: Collection[str], source: str, *, first: bool) -> None:
        """Raise SourceError for a rule about a column that is not there: a typing error would leak what it should hide.

        names: every column that the source has. An excluded column may be dropped by its store later on: after the
        first cycle it is an error only where a column of a near name is there.
        """
        for rule, columns in (("mask", self.mask), ("exclude", self.exclude)):
            for name in columns:
                near = difflib.get_close_matches(name, names, 1)
                if name in names or (rule == "exclude" and not first and not near):
                    continue
                raise SourceError(
                    f"scan {source}: columns.{rule} names {name!r}, which the source does not have",
                    hint=f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(names)}",
                )

    def _masked(self, array: pa.Array, type_: LogicalType, mask: str | None) -> pa.Array:
        if mask is None:
            return pa.nulls(len(array))
        if mask == HMAC:
            return pa.array([self._digest(value) for value in json_column(array, type_)], type=pa.string())
        return pa.array([None if null else mask for null in array.is_null().to_pylist()], type=pa.string())

    def _digest(self, value: Any) -> str | None:
        if value is None:
            return None
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hmac.new(self.mask_key, text.encode(), hashlib.sha256).hexdigest()
