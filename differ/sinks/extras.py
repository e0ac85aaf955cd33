"""Drivers that come with an extra: imported when a sink is opened, and named when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from differ.errors import UsageError


def driver(module: str, *, extra: str, sink: str) -> Any:
    """The module. Raises UsageError that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise UsageError(
            f"sink {sink}: the package that provides {module!r} is not installed",
            hint=f"run: pip install 'differ-cdc[{extra}]'",
        ) from None
