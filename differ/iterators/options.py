"""Read a source's `options` strictly: a misspelt, missing or mistyped one is an error that names it.

Every built-in iterator takes its options through here, so that they all refuse alike. Invariant: an option that
nobody asked for is never ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from differ.errors import ConfigError

T = TypeVar("T")
_WORDS = {str: "text", int: "a whole number", bool: "true or false", dict: "a mapping", list: "a list"}


class Options:
    """The options of one source, taken out one by one; `finish` refuses what is left over."""

    def __init__(self, source: str, values: Mapping[str, Any]) -> None:
        self._source, self._left = source, dict(values)
        self._known: list[str] = []

    def take(self, name: str, *types: type[T]) -> T | None:
        """The option's value, or None where it is not given. Raises ConfigError when it has none of the types."""
        self._known.append(name)
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            words = " or ".join(_WORDS.get(kind, kind.__name__) for kind in types)
            raise self.error(name, f"it must be {words}, not {type(value).__name__}")
        return value

    def require(self, name: str, *types: type[T]) -> T:
        """The option's value. Raises ConfigError also when it is missing or empty."""
        value = self.take(name, *types)
        if value is None or value in ("", [], {}):
            raise self.error(name, "it is missing", hint=f"add it under sources.{self._source}.options")
        return value

    def take_texts(self, name: str) -> tuple[str, ...]:
        """An option that is one text or a list of texts; empty where it is not given."""
        value: Any = self.take(name, str, list)
        items = [value] if isinstance(value, str) else value or []
        if not all(isinstance(item, str) for item in items):
            raise self.error(name, "every item must be text")
        return tuple(items)

    def finish(self) -> None:
        """Raise ConfigError for the first option that nobody took, with the nearest one there is."""
        for name in self._left:
            near = difflib.get_close_matches(str(name), self._known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(self._known))}"
            raise self.error(str(name), "there is no such option", hint=hint)

    def error(self, name: str, cause: str, *, hint: str | None = None) -> ConfigError:
        """The error that says what is wrong with one option."""
        return ConfigError(f"source {self._source}: option {name!r}: {cause}", hint=hint)
