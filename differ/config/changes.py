"""What became different between two settings of one project, key by key, without secrets.

Invariant: a difference is never left out because it is hidden: a changed secret is told as changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from differ.config.settings import Settings
from differ.config.show import hidden, plain


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One key of the file. path: `("relay", "retention", "age")`; text: what became of it, for people, redacted."""

    path: tuple[str, ...]
    text: str


def changes(old: Settings, new: Settings) -> list[SettingChange]:
    """Every key whose value in effect is another one, in the order of the new file; [] where nothing changed."""
    return list(
        _differences((), plain(old), plain(new), hidden(old), hidden(new)),
    )


def _differences(path: tuple[str, ...], old: Any, new: Any, old_shown: Any, new_shown: Any) -> Iterator[SettingChange]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            parts = [part.get(key) if isinstance(part, dict) else None for part in (old, new, old_shown, new_shown)]
            yield from _differences((*path, key), *parts)
        return
    at = ".".join(path)
    if old is None:
        yield SettingChange(path, f"{at}: new" if isinstance(new, dict) else f"{at}: {_text(new_shown)}, was not set")
    elif new is None:
        yield SettingChange(path, f"{at}: removed")
    elif old_shown == new_shown:
        yield SettingChange(path, f"{at}: changed (a secret)")
    else:
        yield SettingChange(path, f"{at}: {_text(old_shown)} -> {_text(new_shown)}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
