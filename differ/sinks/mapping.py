"""The mapping between a record and what a destination stores: declared in scheduler.yaml, compiled once a schema.

    columns -> pick, exclude -> rename, nest, group -> constants -> document

`rename`, `nest` and `exclude` name columns of the source; a column that is named by one of them is not gathered by a
`group`. Key columns are always written, at the top level, under their own or a new name; a pattern of `group` passes
them by. Names that a source does not have do nothing, since one mapping may serve several sources; `unknown` tells
them.

Invariant: different columns never end in one field, and a key stays a key: its columns are all there, none is hidden.
Source: the mapper of Flipkart's Aesop; Solr's and Elasticsearch's ingest pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from differ.config.problems import suggestion
from differ.config.sink import MappingRules, MappingSettings, path_clashes
from differ.errors import SinkError
from differ.records import types as t
from differ.records.types import LogicalType, Schema
from differ.sinks.contract import Document

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A mapping compiled for one set of columns.

    columns: column and path of each field. renamed: new names of columns, a key's too. constants: path and value.
    types: logical types of the document's top-level fields. flat: every path has one part. same: the mapping changes
    nothing.
    """

    columns: tuple[tuple[str, Path], ...]
    renamed: Mapping[str, str]
    constants: tuple[tuple[Path, Any], ...]
    types: Mapping[str, LogicalType]
    flat: bool
    same: bool

    def document(self, row: Mapping[str, Any]) -> dict[str, Any] | Document:
        """The mapped record; the row itself where the mapping changes nothing."""
        if self.same:
            return row
        if self.flat:
            made = {path[0]: row[column] for column, path in self.columns}
            made.update({path[0]: value for path, value in self.constants})
            return made
        made = {}
        for column, path in self.columns:
            _put(made, path, row[column])
        for path, value in self.constants:
            _put(made, path, value)
        return made

    def key(self, key: Mapping[str, Any]) -> Document:
        """The key under the destination's names; the key itself where it keeps them."""
        if self.renamed.keys().isdisjoint(key):
            return key
        return {self.renamed.get(column, column): value for column, value in key.items()}


class DocumentMapping:
    """The mapping of one sink, for all its sources."""

    def __init__(self, settings: MappingSettings, sources: Sequence[str]) -> None:
        self._rules = {source: settings.of(source) for source in sources}
        self._named = {source: _named(rules) for source, rules in self._rules.items()}
        self._seen: dict[str, set[str]] = {}

    def plan(self, source: str, schema: Schema, names: Sequence[str] = ()) -> Plan:
        """Compile for a schema. names: the record's columns where a hook made others than the schema's.

        Raises SinkError for columns that cannot be mapped together, and for a key that would be hidden. O(columns).
        """
        columns = tuple(names) or schema.names
        self._seen.setdefault(source, set()).update(columns)
        try:
            return compile_plan(self._rules[source], schema, columns)
        except SinkError as error:
            raise SinkError(f"map source {source}: {error.message}", hint=error.hint) from None

    def unknown(self) -> list[str]:
        """Columns that the mapping names and that no source so far had, each with the nearest there is."""
        told = []
        everything = set().union(*self._seen.values()) if self._seen else set()
        for name in sorted({name for source in self._seen for name in self._named[source]} - everything):
            told.append(f"column {name!r} is in no source; {suggestion(name, everything)}")
        return told


def compile_plan(rules: MappingRules, schema: Schema, names: Sequence[str]) -> Plan:
    """The plan of the rules for these columns; see the module. Raises SinkError."""
    keys = schema.key
    for column in keys:
        if column in rules.exclude:
            raise SinkError(f"'exclude' names {column!r}, a key column", hint="the key is always written; rename it")
        if column in rules.nest:
            raise SinkError(f"'nest' names {column!r}, a key column", hint="the key stays at the top level; rename it")
    paths = {column: path for column in names if (path := _path(rules, column, column in keys)) is not None}
    constants = tuple((tuple(path.split(".")), value) for path, value in rules.constants.items())
    owners = [(f"column {column!r}", list(path)) for column, path in paths.items()]
    owners += [(f"constant {'.'.join(path)!r}", list(path)) for path, _ in constants]
    for problem in path_clashes(owners):
        raise SinkError(problem, hint="rename, nest or exclude one of them")
    flat = all(len(path) == 1 for path in [*paths.values(), *(path for path, _ in constants)])
    same = not constants and tuple(paths) == tuple(names) and all(path == (name,) for name, path in paths.items())
    return Plan(
        columns=tuple(paths.items()),
        renamed=rules.rename,
        constants=constants,
        types=_types(paths, constants, schema),
        flat=flat,
        same=same,
    )


def _path(rules: MappingRules, column: str, is_key: bool) -> Path | None:
    """Where a column goes; None: it is not written."""
    if column in rules.exclude:
        return None
    if rules.pick and column not in rules.pick and not is_key:
        return None
    if column in rules.rename:
        return (rules.rename[column],)
    if column in rules.nest:
        return tuple(rules.nest[column].split("."))
    if not is_key:
        for pattern, name in rules.group.items():
            prefix = pattern[:-1]
            if column.startswith(prefix) and len(column) > len(prefix):
                return (*name.split("."), column[len(prefix) :])
    return (column,)


def _put(document: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        document = document.setdefault(part, {})
    document[path[-1]] = value


def _types(
    paths: Mapping[str, Path], constants: Sequence[tuple[Path, Any]], schema: Schema
) -> Mapping[str, LogicalType]:
    """The types of the top-level fields; fields inside one make a struct."""
    leaves: list[tuple[Path, LogicalType | None]] = [(path, schema.types.get(column)) for column, path in paths.items()]
    leaves += [(path, _constant_type(value)) for path, value in constants]
    return {name: type_ for name, type_ in _gathered(leaves).items() if type_ is not None}


def _gathered(leaves: Sequence[tuple[Path, LogicalType | None]]) -> dict[str, LogicalType | None]:
    inner: dict[str, list[tuple[Path, LogicalType | None]]] = {}
    made: dict[str, LogicalType | None] = {}
    for path, type_ in leaves:
        if len(path) == 1:
            made[path[0]] = type_
        else:
            inner.setdefault(path[0], []).append((path[1:], type_))
            made[path[0]] = None
    for name, below in inner.items():
        children = tuple((child, type_ or t.JSON) for child, type_ in _gathered(below).items())
        made[name] = LogicalType(kind="struct", children=children)
    return made


def _constant_type(value: Any) -> LogicalType | None:
    plain = {bool: t.BOOL, int: t.INT, float: t.FLOAT, str: t.STRING}
    return plain.get(type(value), None if value is None else t.JSON)


def _named(rules: MappingRules) -> set[str]:
    return {*rules.rename, *rules.pick, *rules.exclude, *rules.nest}
