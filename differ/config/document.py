"""Text of scheduler.yaml -> plain values, with the line of every key.

Why not `yaml.safe_load`: it drops the lines that errors must name, takes the last of two equal keys in
silence, and reads YAML 1.1, in which `no` is false and `12:30` is 750. Here the events of PyYAML's parser
are read under the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): only true/false
are booleans, dates stay text, keys are always text. Anchors, aliases and `<<` merges work; tags do not.

Invariant: whatever the text, the result is plain dicts, lists and scalars of bounded depth and number, or
ConfigError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from differ.errors import ConfigError

KeyPath: TypeAlias = tuple[str | int, ...]

FILE_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 40
NODES_MAX = 200_000
"""Values after aliases are written out: more is an alias bomb, since a file of 1 MiB rarely holds as many."""

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|(?P<no>false|False|FALSE))\Z")
_INT = re.compile(r"[-+]?[0-9]{1,4000}\Z")
_BASED = re.compile(r"0(?:o[0-7]{1,100}|x[0-9a-fA-F]{1,100})\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"(?:(?P<sign>[-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The file's top mapping, and for every key path the line (1-based) where it stands."""

    name: str
    value: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of `path`, or of the nearest enclosing key that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(path: Path) -> Document:
    """Read and parse the file; ConfigError where it is unreadable, over 1 MiB, not UTF-8 or not YAML."""
    try:
        with path.open("rb") as file:
            body = file.read(FILE_BYTES_MAX + 1)
    except OSError as cause:
        raise ConfigError(f"read {path}: {cause.strerror or cause}") from cause
    if len(body) > FILE_BYTES_MAX:
        raise ConfigError(f"read {path}: larger than 1 MiB", hint="is this the right file?")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = body[: cause.start].count(b"\n") + 1
        raise ConfigError(f"{path.name} line {line}: not UTF-8 text", hint="save the file as UTF-8") from cause
    return parse_document(text, name=path.name)


def parse_document(text: str, *, name: str = "scheduler.yaml") -> Document:
    """Parse text; ConfigError names the line and column. Linear in the text and in what aliases expand to."""
    try:
        top = _Composer(yaml.parse(text, Loader=_PARSER), name).compose()
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(part for part in (cause.context, cause.problem) if part)
        raise ConfigError(f"{name}{where}: not valid YAML: {problem}", hint="indent with spaces") from cause
    except yaml.YAMLError as cause:
        raise ConfigError(f"{name}: not valid YAML: {str(cause).splitlines()[0]}") from cause
    except UnicodeError as cause:
        raise ConfigError(f"{name}: not valid YAML: a character that is no Unicode text") from cause
    lines: dict[KeyPath, int] = {(): top.line}
    value = _plain(top, (), lines, name)
    if not isinstance(value, dict):
        raise ConfigError(
            f"{name} line {top.line}: expected a mapping of settings, got {kind_of(value)}",
            hint="begin with 'version: 1' and 'sources:'",
        )
    return Document(name=name, value=value, lines=lines)


def kind_of(value: Any) -> str:
    """What a person would call this value in an error."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value:.6g}" if isinstance(value, float) else "a number"
        case str():
            return f"{value[:60]!r}"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


@dataclass(frozen=True, slots=True)
class _Node:
    """A composed value: `value` is a scalar, a list of nodes, or a dict of key -> (line of the key, node)."""

    value: Any
    line: int


class _Composer:
    """One pass over the parser's events."""

    def __init__(self, events: Iterator[Any], name: str) -> None:
        self._events = events
        self._name = name
        self._anchors: dict[str, _Node] = {}
        self._merged = 0

    def compose(self) -> _Node:
        next(self._events)  # the stream's start
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            raise ConfigError(f"{self._name}: the file is empty", hint="begin with 'version: 1' and 'sources:'")
        top = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error(after, "a second document; one file is one document")
        return top

    def _node(self, event: Any, depth: int) -> _Node:
        if depth > DEPTH_MAX:
            raise self._error(event, f"nested deeper than {DEPTH_MAX} levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(event, f"alias *{event.anchor} has no complete anchor &{event.anchor} before it")
            return self._anchors[event.anchor]
        if event.tag is not None:
            raise self._error(event, f"tags such as {event.tag[:40]!r} are not used here")
        line = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(_scalar(event.value) if event.implicit[0] else event.value, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = _Node(self._items(depth), line)
        else:
            node = _Node(self._entries(depth), line)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _items(self, depth: int) -> list[_Node]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _entries(self, depth: int) -> dict[str, tuple[int, _Node]]:
        entries: dict[str, tuple[int, _Node]] = {}
        merged: list[_Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise self._error(event, "a key must be plain text")
            key, line = event.value, _line(event)
            node = self._node(next(self._events), depth + 1)
            if key == "<<" and event.implicit[0]:
                merged.extend(self._merges(event, node))
            elif key in entries:
                raise self._error(event, f"key {key!r} was given already on line {entries[key][0]}")
            else:
                entries[key] = (line, node)
        for part in merged:
            for key, entry in part.value.items():
                entries.setdefault(key, entry)
        return entries

    def _merges(self, event: Any, node: _Node) -> list[_Node]:
        parts = node.value if isinstance(node.value, list) else [node]
        for part in parts:
            if not isinstance(part.value, dict):
                raise self._error(event, "<< merges mappings only")
            self._merged += 1 + len(part.value)
            if self._merged > NODES_MAX:
                raise self._error(event, f"more than {NODES_MAX} values are merged")
        return parts

    def _error(self, event: Any, problem: str) -> ConfigError:
        mark: yaml.Mark = event.start_mark
        return ConfigError(f"{self._name} line {mark.line + 1}, column {mark.column + 1}: {problem}")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _plain(node: _Node, path: KeyPath, lines: dict[KeyPath, int], name: str) -> Any:
    """Write the aliases out and note the lines."""
    if len(lines) > NODES_MAX:
        raise ConfigError(f"{name}: more than {NODES_MAX} values once aliases are written out")
    if len(path) > DEPTH_MAX:
        raise ConfigError(f"{name} line {node.line}: nested deeper than {DEPTH_MAX} levels")
    if isinstance(node.value, dict):
        plain = {}
        for key, (line, child) in node.value.items():
            lines[(*path, key)] = line
            plain[key] = _plain(child, (*path, key), lines, name)
        return plain
    if isinstance(node.value, list):
        items = []
        for index, child in enumerate(node.value):
            lines[(*path, index)] = child.line
            items.append(_plain(child, (*path, index), lines, name))
        return items
    return node.value


def _scalar(text: str) -> Any:
    """An unquoted scalar under YAML 1.2's core schema."""
    if _NULL.match(text):
        return None
    if found := _BOOL.match(text):
        return found["no"] is None
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    if found := _SPECIAL.match(text):
        return float(f"{found['sign']}inf") if found["sign"] is not None else float("nan")
    return text
