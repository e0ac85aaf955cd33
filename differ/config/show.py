"""The settings in effect, defaults included, as YAML without secrets: what `differ config show` prints.

Invariant: a value that the file takes from `env:` or `file:` is shown as that reference, one whose key
sounds secret as `***`, and every other text is redacted, so the output can be sent to somebody for help.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from differ.config.document import KeyPath
from differ.config.problems import key_of
from differ.config.references import is_secret_reference, sounds_secret
from differ.config.scalars import Limit
from differ.config.settings import Settings
from differ.errors import HIDDEN, redact


def shown(settings: Settings) -> str:
    """YAML that loads again where no secret was hidden; keys in the order of the reference page."""
    import yaml

    return str(yaml.safe_dump(hidden(settings), sort_keys=False, allow_unicode=True, width=110))


def hidden(settings: Settings) -> Any:
    """The settings in effect as plain values, without secrets."""
    return _hidden(plain(settings), (), settings._raw)


def plain(value: Any) -> Any:
    """Settings as the file would write them: its keys, units on numbers, nothing that loading fills in."""
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        fields = {
            name: (key_of((name, field)), getattr(value, name)) for name, field in type(value).model_fields.items()
        }
        return {
            key: _with_unit(name, item)
            for name, (key, item) in fields.items()
            if not key.startswith("(") and item is not None
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (Limit, Path)):
        return str(value)
    if isinstance(value, Decimal):
        return str(value)
    return value


def _with_unit(name: str, value: Any) -> Any:
    if name.endswith("_seconds") and isinstance(value, float):
        return f"{value:.15g}s"
    if name.endswith("_bytes") and isinstance(value, int):
        return size_text(value)
    return plain(value)


def size_text(count: int) -> str:
    """A size as people write it, exactly: 64MiB, 1000B."""
    for unit, bytes_each in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count and count % bytes_each == 0:
            return f"{count // bytes_each}{unit}"
    return f"{count}B"


def _hidden(value: Any, path: KeyPath, raw: Any) -> Any:
    """`value` without secrets; `raw` is what the file says at the same place, where it says anything."""
    if isinstance(value, dict):
        under = raw if isinstance(raw, dict) else {}
        return {redact(key): _hidden(item, (*path, key), under.get(key)) for key, item in value.items()}
    if isinstance(value, list):
        given = raw if isinstance(raw, list) else []
        return [
            _hidden(item, (*path, index), given[index] if index < len(given) else None)
            for index, item in enumerate(value)
        ]
    if is_secret_reference(raw):
        return raw
    if path and sounds_secret(str(path[-1])) and isinstance(value, (str, int, float)) and "options" in path:
        return HIDDEN
    if path[:2] == ("relay", "tokens") and (len(path) == 3 or path[-1] == "token"):
        return HIDDEN
    return redact(value).replace("${", "$${") if isinstance(value, str) else value
