"""differ: captures changes from any store that can be read, by comparing what it reads with what it read last.

    import differ
    project = differ.open(".")                         # reads scheduler.yaml
    result = project.scan("orders")                    # CycleResult
    project.snapshot("orders", as_of=57).to_pandas()
    for event in project.events("orders", since=41): ...

Names are loaded when first used, so that importing `differ` costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["ChangeEvent", "CycleResult", "DifferError", "Project", "RunOptions", "__version__", "open"]

if TYPE_CHECKING:
    from differ.cycle.procedure import RunOptions
    from differ.errors import DifferError
    from differ.model import ChangeEvent, CycleResult
    from differ.project import Project

_HOMES = {
    "ChangeEvent": "differ.model",
    "CycleResult": "differ.model",
    "DifferError": "differ.errors",
    "Project": "differ.project",
    "RunOptions": "differ.cycle.procedure",
}


def open(project: str | Path = ".") -> Project:
    """Open the project whose scheduler.yaml lies in this folder or the nearest one above.

    Raises ConfigError, which names file, line and key of all that is wrong.
    """
    from differ.config import find_project, load
    from differ.project import Project

    return Project(load(find_project(Path(project))))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'differ' has no attribute {name!r}")
