"""The DuckDB query that reads a snapshot's rows, from the manifest alone: base and deltas without what they replaced.

    a row of a part is dead when its key stands in a `removed` file of a later cycle

so deltas cost an anti join on the key, and a snapshot that is one base costs nothing. The query names files by absolute
path; it is right as long as the snapshot is kept. Names and paths are quoted, never pasted. Invariant: it gives what
`Snapshot.to_arrow` gives, in storage types (a uuid is a BLOB of 16 bytes, a document is text in canonical Extended
JSON), but for what DuckDB has no type for: decimals of more than 38 digits come as doubles, durations as integers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from differ.snapshots.manifest import Manifest
from differ.storage import StoredFile


def state_query(root: Path, manifest: Manifest) -> str:
    """One SELECT without a semicolon. root: the folder that the manifest's paths start from."""
    names = manifest.schema.names
    aliases = _aliases(names)
    shown = ", ".join(_as(aliases[name], name) for name in names)
    if not manifest.parts:
        nulls = ", ".join(f"NULL AS {_quoted(name)}" for name in names)
        return f"SELECT {nulls} WHERE false"
    if not manifest.removed:
        files = [part.file for part in manifest.parts]
        return f"SELECT {shown}\nFROM {_read(root, files, names, aliases)}"
    cycle = _free("differ_cycle", aliases.values())
    key = manifest.schema.key
    parts = [
        _numbered(number, cycle, _list(aliases, names), _read(root, [part.file for part in group], names, aliases))
        for number, group in groupby(manifest.parts, key=lambda part: part.cycle)
    ]
    removed = [
        _numbered(number, cycle, _list(aliases, key), _read(root, [item.file for item in group], key, aliases))
        for number, group in groupby(manifest.removed, key=lambda item: item.cycle)
    ]
    same_key = " AND ".join(f"removed.{_quoted(aliases[name])} = parts.{_quoted(aliases[name])}" for name in key)
    union = "\n  UNION ALL\n"
    return "\n".join(
        [
            f"WITH parts AS (\n{union.join(parts)}\n), removed AS (\n{union.join(removed)}\n)",
            f"SELECT {shown}",
            "FROM parts",
            f"WHERE NOT EXISTS (SELECT 1 FROM removed WHERE removed.{cycle} > parts.{cycle} AND {same_key})",  # noqa: S608
        ]
    )


def _numbered(number: int, cycle: str, columns: str, table: str) -> str:
    return f"  SELECT {number} AS {cycle}, {columns} FROM {table}"  # noqa: S608


def _read(root: Path, files: Sequence[StoredFile], names: Sequence[str], aliases: Mapping[str, str]) -> str:
    paths = ", ".join(_text(_no_glob(str((root / file.path).absolute()))) for file in files)
    table = f"read_parquet([{paths}], hive_partitioning = false)"
    if all(aliases[name] == name for name in names):
        return table
    # By position: DuckDB does not tell columns apart whose names differ only in case.
    return f"{table} AS part({_list(aliases, names)})"


def _aliases(names: Sequence[str]) -> dict[str, str]:
    """What the query calls each column: its name, unless DuckDB would take two names for one."""
    if len({name.casefold() for name in names}) == len(names):
        return {name: name for name in names}
    return {name: f"column_{number}" for number, name in enumerate(names)}


def _free(name: str, taken: Iterable[str]) -> str:
    used = {item.casefold() for item in taken}
    while name in used:
        name += "_"
    return name


def _list(aliases: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(_quoted(aliases[name]) for name in names)


def _as(alias: str, name: str) -> str:
    return _quoted(name) if alias == name else f"{_quoted(alias)} AS {_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _no_glob(path: str) -> str:
    """DuckDB takes a path for a pattern; a bracket around each of its signs makes it itself."""
    return re.sub(r"[*?\[]", lambda match: f"[{match.group()}]", path)
