"""Names that calls carry: lists with commas, and sources that must be there.

Invariant: a name that nobody knows is an error that suggests the nearest one, never an empty answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from differ.errors import UsageError
from differ.project import Project
from differ.server.problems import NotFoundError


def listed(values: Iterable[str]) -> tuple[str, ...]:
    """`a,b` and `a`, `b` alike: the names in order, each once. Raises UsageError for an empty one."""
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise UsageError("a list holds an empty name", hint="leave the parameter out, or name something")
    return tuple(dict.fromkeys(names))


def known_source(project: Project, name: str) -> str:
    """The name of a source that scheduler.yaml or the catalog knows; raises NotFoundError with the nearest."""
    try:
        return project.known(name)
    except UsageError as error:
        raise NotFoundError(error.message, hint=error.hint) from error


def known_sources(project: Project, names: Iterable[str]) -> None:
    """Raise NotFoundError where one of the sources is not known. Cost: one look-up each."""
    for name in names:
        known_source(project, name)
