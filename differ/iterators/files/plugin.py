"""The `files` iterator: what the options say, which format reads, and that the files held still.

Absence from a scan proves a delete (`consistent`), since a scan during which any of its files changed fails.

Options: `path` (one, a list, globs), `format` (parquet, csv, jsonl; by the suffix), `storage_options` (fsspec),
`columns`, `types`; CSV: `delimiter`, `header`, `column_names`, `null_values`; JSON Lines: `document`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from differ.errors import UsageError
from differ.iterators.contract import Batch, Context, iterator
from differ.iterators.files.place import Place, Places
from differ.iterators.options import Options
from differ.records.types import LogicalType, Schema

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet",
    ".csv": "csv", ".tsv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip


class Format(Protocol):
    """What reads one kind of file."""

    key: tuple[str, ...]

    def schema(self) -> Schema:
        """The declared schema of all files together."""

    def splits(self) -> Sequence[Any]:
        """Parts of the files, each with the `place` that it is of."""

    def read(self, split: Any) -> Iterator[Batch]:
        """The batches of one part."""


@iterator(name="files", consistent=True)
class files:  # noqa: N801  (the name people write)
    """Reads Parquet, CSV or JSON Lines files, local or behind fsspec."""

    consistent = True

    def __init__(self, ctx: Context) -> None:
        options = Options(ctx.source, ctx.options)
        paths = options.take_texts("path")
        if not all(paths) or not paths:
            raise options.error("path", "it is missing or empty", hint="name a file, a list of files or a glob")
        storage: Mapping[str, Any] = options.take("storage_options", dict) or {}
        named = options.take("format", str)
        if named is not None and named not in set(_FORMATS.values()):
            raise options.error("format", f"it must be parquet, csv or jsonl, not {named!r}")
        self._places = Places(paths, ctx.project, storage)
        self._format = _make_format(
            named or _format_of(self._places.places, options), self._places.places, ctx, options
        )
        self._left: set[Any] | None = None
        self.key = self._format.key

    def schema(self) -> Schema:
        """The columns that the files declare, or that reading them once showed."""
        return self._format.schema()

    def splits(self) -> Sequence[Any]:
        """One part a file; large Parquet files in several."""
        splits = self._format.splits()
        self._left = set(splits)
        return splits

    def read(self, split: Any) -> Iterator[Batch]:
        """The rows of one part. Raises SourceError when the file is bad or changed since the scan began."""
        yield from self._format.read(split)
        self._places.check(split.place)
        if self._left is not None:
            self._left.discard(split)
            if not self._left:
                self._places.check_all()


def _format_of(places: Sequence[Place], options: Options) -> str:
    found = {_FORMATS.get(place.suffix): place.name for place in places}
    if None in found:
        raise options.error("format", f"{found[None]}: the suffix does not tell", hint="set it: parquet, csv or jsonl")
    if len(found) > 1:
        raise options.error("path", f"it matches several formats: {', '.join(found.values())}", hint="set format")
    return str(next(iter(found)))


def _make_format(name: str, places: Sequence[Place], ctx: Context, options: Options) -> Format:
    columns = options.take_texts("columns")
    types = _take_types(options)
    if name == "parquet":
        from differ.iterators.files.parquet import Parquet

        options.finish()
        if types:
            raise options.error("types", "a Parquet file says its types itself")
        return Parquet(places, ctx, columns)
    if name == "csv":
        from differ.iterators.files.csv_parser import Dialect
        from differ.iterators.files.delimited import Delimited

        dialect = Dialect.take(options, tabs=places[0].suffix == ".tsv")
        options.finish()
        return Delimited(places, ctx, columns, types, dialect)
    document = options.take("document", bool) or False
    options.finish()
    if not document:
        from differ.iterators.files.lines import Lines

        return Lines(places, ctx, columns, types)
    from differ.iterators.files.document_lines import DocumentLines

    if columns or types:
        raise options.error("document", "it goes without columns and types", hint="a document is kept whole")
    return DocumentLines(places, ctx)


def _take_types(options: Options) -> dict[str, LogicalType]:
    from differ.records.names import parse_type

    types = {}
    for column, text in (options.take("types", dict) or {}).items():
        try:
            types[str(column)] = parse_type(str(text))
        except UsageError as error:
            raise options.error("types", f"column {column!r}: {error.message}", hint=error.hint) from error
    return types
