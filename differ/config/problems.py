"""What is wrong with a configuration, told as `scheduler.yaml line 14: sources.orders.guard: unknown key;
...`.

pydantic finds the wrong values; this module says them in the project's words, with the line, what was
expected and an example from the field, and the nearest valid key. All problems are told together, up to
ten, in the file's order.

Invariant: a problem never quotes a value that was resolved from a secret reference unless it is registered
as one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from differ.config.document import Document, KeyPath, kind_of
from differ.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic.fields import FieldInfo

PROBLEMS_TOLD_MAX = 10
HINT = "run 'differ config check' after mending it; docs/configuration.md lists every key"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong at one key path of the file."""

    path: KeyPath
    text: str


def config_error(document: Document, problems: Sequence[Problem]) -> ConfigError:
    """One error that tells all problems with their lines, in the file's order."""
    ordered = sorted(problems, key=lambda problem: document.line(problem.path))
    told = [f"line {document.line(p.path)}: {dotted(p.path)}{p.text}" for p in ordered[:PROBLEMS_TOLD_MAX]]
    if len(told) == 1:
        return ConfigError(f"{document.name} {told[0]}", hint=HINT)
    more = len(ordered) - len(told)
    lines = [f"{document.name}: {len(ordered)} problems", *told, *([f"and {more} more"] if more else [])]
    return ConfigError("\n  ".join(lines), hint=HINT)


def dotted(path: KeyPath) -> str:
    """`sources.orders.key[0]: `, or nothing for the file as a whole."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return f"{text}: " if text else ""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was most likely meant to be, or None."""
    lowered = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def suggestion(name: str, valid: Iterable[str]) -> str:
    """`did you mean 'guards'?`, or the list of what is valid where nothing is near."""
    names = sorted(valid)
    if close := nearest(name, names):
        return f"did you mean {close!r}?"
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"valid here: {listed}" if names else "none is defined"


def from_validation(model: type[BaseModel], error: ValidationError) -> list[Problem]:
    """pydantic's findings in the project's words."""
    found = error.errors(include_url=False, include_context=True)
    return [_problem(model, item["type"], item["loc"], item["msg"], item["input"]) for item in found]


def _problem(model: type[BaseModel], kind: str, loc: KeyPath, message: str, value: Any) -> Problem:
    path = tuple(key for key in loc if key != "[key]")
    if kind == "extra_forbidden":
        parent, _ = _resolve(model, path[:-1])
        return Problem(path, f"unknown key; {suggestion(str(path[-1]), _keys(parent))}")
    _, field = _resolve(model, path)
    if kind == "missing":
        return Problem(path, f"is required{_example(field)}")
    if kind == "value_error":
        said = message.removeprefix("Value error, ")
        return Problem(path, f"{said}, got {kind_of(value)}" if said.startswith("expected ") else said)
    if kind in _EXPECTED:
        expected = f"expected {_EXPECTED[kind]}{_example(field)}, got {kind_of(value)}"
        return Problem(path, expected + _quote_hint(kind, value))
    if kind == "literal_error":
        return Problem(path, f"{message.replace('Input should be', 'expected')}, got {kind_of(value)}")
    return Problem(path, f"{message.replace('Input should be', 'expected')}{_example(field)}, got {kind_of(value)}")


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}


def _quote_hint(kind: str, value: Any) -> str:
    return "; put it in quotes" if kind == "string_type" and isinstance(value, (bool, int, float)) else ""


def _example(field: FieldInfo | None) -> str:
    examples = field.examples if field is not None else None
    return f" such as {examples[0]}" if examples else ""


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else [key for key in map(key_of, model.model_fields.items()) if key[0] != "("]


def key_of(item: tuple[str, FieldInfo]) -> str:
    """The key of a field in the file; one that begins with "(" is not in the file."""
    name, field = item
    return field.alias or name


def _resolve(model: type[BaseModel], path: KeyPath) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model that stands at `path`, where one does, and the field that leads to it."""
    current: Any = model
    field: FieldInfo | None = None
    for key in path:
        if inner := model_of(current):
            by_key = {key_of(item): item[1] for item in inner.model_fields.items()}
            field = by_key.get(str(key))
            current = field.annotation if field is not None else None
        else:
            parts = getattr(current, "__args__", ())
            current = parts[-1] if parts else None
    return model_of(current), field


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or is when it is not None."""
    from pydantic import BaseModel

    for part in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part if getattr(annotation, "__origin__", None) is not dict else None
    return None
