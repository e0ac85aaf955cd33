"""The manifest: which immutable files make up a snapshot.

Rows are numbered through the parts in the order listed, base first, then deltas; the number of a row is its location.
Which rows are alive is what the index says; a reader without the index can use `removed` instead: a row of part p is
dead when its key stands in a removed file of a later cycle.

Write order: parts, removed, index, manifest, then the catalog's commit. Read order: the reverse.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from differ.errors import CorruptionError
from differ.records.types import Schema
from differ.storage import StoredFile, create, verify
from differ.storage.files import CHECK_HINT

FORMAT = 2
READABLE = (1, 2)
"""Version 1 knew no deltas of the index: a manifest of it has one run."""
DELTA_FILES_MAX = 512
"""Past so many files of deltas a new base is due, however small they are: every reader walks through all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A Parquet file of rows; `first_row` is the location of its first."""

    kind: Literal["base", "delta"]
    cycle: int
    first_row: int
    file: StoredFile

    @property
    def end_row(self) -> int:
        """The location after its last row."""
        return self.first_row + self.file.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A Parquet file of the keys whose older rows died in a cycle (deleted or replaced)."""

    cycle: int
    file: StoredFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A snapshot's table of contents. encoding: what the row hashes of the index were made by (`Encoding.to_json`).

    index, index_deltas: the base run of the index, and the runs that change it, oldest first.
    """

    source: str
    cycle: int
    rows: int
    schema: Schema
    encoding: Mapping[str, Any]
    parts: tuple[Part, ...]
    removed: tuple[Removed, ...]
    index: StoredFile
    index_deltas: tuple[StoredFile, ...] = ()

    @property
    def part_rows(self) -> int:
        """Rows in all parts, dead ones too."""
        return self.parts[-1].end_row if self.parts else 0

    @property
    def base_bytes(self) -> int:
        """Bytes of the base parts."""
        return sum(part.file.bytes for part in self.parts if part.kind == "base")

    @property
    def delta_bytes(self) -> int:
        """Bytes of the delta parts."""
        return sum(part.file.bytes for part in self.parts if part.kind == "delta")

    def base_is_due(self, *, small_base_bytes: int, delta_share: float) -> bool:
        """Whether the next cycle that changes rows writes a whole base: it is small, or its deltas have grown, in bytes
        or in number."""
        if self.base_bytes + self.delta_bytes < small_base_bytes:
            return True
        if sum(part.kind == "delta" for part in self.parts) + len(self.removed) >= DELTA_FILES_MAX:
            return True
        return self.delta_bytes > delta_share * self.base_bytes

    @property
    def files(self) -> list[StoredFile]:
        """Every file the snapshot needs, without the manifest itself."""
        parts, removed = (item.file for item in self.parts), (item.file for item in self.removed)
        return [*parts, *removed, self.index, *self.index_deltas]

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "format": FORMAT,
            "source": self.source,
            "cycle": self.cycle,
            "rows": self.rows,
            "schema": self.schema.to_json(),
            "encoding": dict(self.encoding),
            "parts": [
                {"kind": part.kind, "cycle": part.cycle, "first_row": part.first_row} | part.file.to_json()
                for part in self.parts
            ],
            "removed": [{"cycle": item.cycle} | item.file.to_json() for item in self.removed],
            "index": self.index.to_json(),
            "index_deltas": [file.to_json() for file in self.index_deltas],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` wrote."""
        return cls(
            source=body["source"],
            cycle=body["cycle"],
            rows=body["rows"],
            schema=Schema.from_json(body["schema"]),
            encoding=body["encoding"],
            parts=tuple(
                Part(
                    kind=item["kind"],
                    cycle=item["cycle"],
                    first_row=item["first_row"],
                    file=StoredFile.from_json(item),
                )
                for item in body["parts"]
            ),
            removed=tuple(Removed(cycle=item["cycle"], file=StoredFile.from_json(item)) for item in body["removed"]),
            index=StoredFile.from_json(body["index"]),
            index_deltas=tuple(StoredFile.from_json(item) for item in body.get("index_deltas", ())),
        )


def write_manifest(root: Path, folder: Path, manifest: Manifest) -> StoredFile:
    """Write `manifest.json` into the cycle's folder, durably."""
    body = json.dumps(manifest.to_json(), indent=1).encode()
    with create(folder / "manifest.json") as file:
        file.write(body)
        return file.commit(root=root, rows=manifest.rows)


def read_manifest(root: Path, file: StoredFile, source: str) -> Manifest:
    """Read and verify a manifest; raises CorruptionError."""
    path = verify(root, file, f"snapshot {source}")
    try:
        body = json.loads(path.read_bytes())
        if body["format"] not in READABLE:
            raise CorruptionError(f"read snapshot {source}: {path} has format {body['format']}, not {FORMAT}")
        return Manifest.from_json(body)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"read snapshot {source}: {path}: {error!r}", hint=CHECK_HINT) from error
