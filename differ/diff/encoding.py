"""What the row hashes of an index were made by, and how to make them anew when that changes.

Hashes of two states compare only under one encoding: the same encoder version, columns, layouts, ignored and tolerated
columns. When any of that changes, the previous state is re-fingerprinted from its stored rows under the new rules, so
that a change of rules is never mistaken for a change of rows. A row that has no exact form under the new rules is given
hashes that match nothing, which makes it an update (or, when it is its key, a delete and an insert).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from differ.records.canonical import layout
from differ.records.convert import convert
from differ.records.fingerprints import Fingerprints, fingerprint
from differ.records.types import Schema
from differ.snapshots.entries import INDEX_LAYOUT, EntryRuns, entry_schema, make_entries
from differ.snapshots.index import Index, open_index
from differ.snapshots.merge import merge, write_run
from differ.snapshots.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """A schema with the rules of comparison. ignore: columns left out; tolerance: absolute, by column.

    returned: columns that the previous state lacks and an older one had. No event told that their values were gone, so
    whoever follows the events may hold them still: every row counts as changed in these.
    """

    schema: Schema
    ignore: frozenset[str] = frozenset()
    tolerance: Mapping[str, Decimal] = field(default_factory=dict)
    returned: frozenset[str] = frozenset()

    @classmethod
    def of(cls, snapshot: Snapshot) -> Encoding:
        """The encoding that a snapshot's index was made by, under today's encoder."""
        rules = snapshot.manifest.encoding["rules"]
        tolerance = {name: Decimal(amount) for name, amount in rules["tolerance"].items()}
        return cls(schema=snapshot.schema, ignore=frozenset(rules["ignore"]), tolerance=tolerance)

    @cached_property
    def hashed(self) -> tuple[str, ...]:
        """The columns that enter the row hash."""
        return tuple(n for n in self.schema.names if n not in self.ignore and n not in self.tolerance)

    @cached_property
    def tolerated(self) -> pa.Schema:
        """The tolerated columns in storage types; the index holds their last emitted values."""
        return pa.schema([self.schema.arrow.field(name) for name in self.schema.names if name in self.tolerance])

    @cached_property
    def entries(self) -> pa.Schema:
        """The schema of index entries."""
        return entry_schema(self.tolerated)

    @property
    def rules(self) -> dict[str, Any]:
        """The rules as configured, for people and for noticing that they were edited."""
        tolerance = {name: str(self.tolerance[name]) for name in sorted(self.tolerance)}
        return {"ignore": sorted(self.ignore), "tolerance": tolerance}

    @property
    def rules_text(self) -> str:
        """The rules in words."""
        tolerance = ", ".join(f"{name} {amount}" for name, amount in self.rules["tolerance"].items())
        return f"ignored: {', '.join(self.rules['ignore']) or 'none'}; tolerance: {tolerance or 'none'}"

    def to_json(self) -> dict[str, Any]:
        """The manifest's form: `layout` and `rules`."""
        return {"layout": self.layout, "rules": self.rules}

    @cached_property
    def layout(self) -> dict[str, Any]:
        """What must be equal for an index to stay usable; the amount of a tolerance is not part of it."""
        return {
            "index": INDEX_LAYOUT,
            "row": layout(self.schema, self.hashed),
            "key": layout(self.schema, self.schema.key),
            "tolerated": layout(self.schema, self.tolerated.names),
        }

    def encoder_changes(self, stored: Mapping[str, Any]) -> tuple[str, ...]:
        """A sentence when a stored encoding (`to_json`) was made by another version of the encoder."""
        was, is_now = stored["layout"]["row"]["encoder"], self.layout["row"]["encoder"]
        return () if was == is_now else (f"encoder version {was} -> {is_now}",)

    def fingerprint(self, batch: pa.RecordBatch) -> Fingerprints:
        """Key and row hashes of storage-typed rows."""
        return fingerprint(batch, self.schema, self.hashed)

    def tolerated_values(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The tolerated columns of some rows."""
        return {name: batch.column(name) for name in self.tolerated.names}


def refingerprint(snapshot: Snapshot, encoding: Encoding, folder: Path, *, budget_bytes: int) -> Index:
    """The index of a stored snapshot under another encoding, written to `folder`; positions differ from the old ones.

    Cost: reads every live row once. Memory: `budget_bytes` and one range.
    """
    old, new = snapshot.schema, encoding.schema
    old_key = old.with_key(name for name in new.key if name in old.types)
    runs = EntryRuns(encoding.entries, folder, budget_bytes=budget_bytes)
    for locations, batch in snapshot.located():
        converted, inexact = convert(batch, old, new)
        _, key_inexact = convert(batch.select(list(old_key.key)), old_key.key_schema, new.key_schema)
        hashes = encoding.fingerprint(converted)
        if encoding.returned:
            inexact = np.ones(batch.num_rows, dtype=bool)
        if inexact.any():
            was = fingerprint(batch, old, old.key)
            hashes = _spoil(hashes, was, rows=inexact, keys=key_inexact)
        runs.add(
            make_entries(hashes, locations.astype(np.uint64), encoding.tolerated_values(converted), encoding.entries)
        )
    total = runs.rows
    entries = merge(None, None, runs, None)
    path = folder / "refingerprinted.arrow"
    return open_index(
        folder,
        write_run(path, folder, entries=entries, total_rows=total, schema=encoding.entries),
        snapshot.manifest.source,
    )


def _spoil(
    hashes: Fingerprints, was: Fingerprints, *, rows: np.ndarray[Any, Any], keys: np.ndarray[Any, Any]
) -> Fingerprints:
    """Hashes that match nothing for inexact rows and keys; a key's come from what it was, so that keys stay apart."""
    return Fingerprints(
        key_hi=np.where(keys, ~was.key_hi, hashes.key_hi),
        key_lo=np.where(keys, was.key_lo, hashes.key_lo),
        row_hi=np.where(rows, ~hashes.row_hi, hashes.row_hi),
        row_lo=hashes.row_lo,
    )
