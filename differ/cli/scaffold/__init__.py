"""The files of a new project, as they are copied: `project/` for all, `demo/` beside it for the sample shop.

Names: `gitignore` becomes `.gitignore`, and `snapshots_gitignore` `snapshots/.gitignore`; under their own names they
would hide what lies beside them from the build.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

RENAMED = {"gitignore": ".gitignore", "snapshots_gitignore": "snapshots/.gitignore"}


def project_files(*, demo: bool) -> dict[str, str]:
    """The files of a new project: path, with `/`, to text. The demo's replace those of the same name."""
    root = files(__name__)
    found = dict(_texts(root / "project", ""))
    return found | dict(_texts(root / "demo", "")) if demo else found


def _texts(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _texts(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{RENAMED.get(entry.name, entry.name)}", entry.read_text(encoding="utf-8")
