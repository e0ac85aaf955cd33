"""Parameters that several commands have: a source's name that a shell completes, SCNs, sizes of output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
SCN = click.IntRange(min=0)


def project_names(ctx: click.Context, section: str) -> list[str]:
    """The names of one section of scheduler.yaml, for completion; none where the file cannot be loaded."""
    from differ.config import load
    from differ.errors import DifferError

    project = ctx.params.get("project") or ctx.find_root().params.get("project")
    try:
        return list(getattr(load(Path(project) if project else None), section))
    except DifferError:
        return []


def complete_source(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of sources that begin so."""
    return [name for name in project_names(ctx, "sources") if name.startswith(incomplete)]


def complete_group(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of consistency groups that begin so."""
    return [name for name in project_names(ctx, "consistency_groups") if name.startswith(incomplete)]


def source_option(function: Decorated) -> Decorated:
    """`--source NAME`, required."""
    option = click.option(
        "--source", required=True, metavar="NAME", shell_complete=complete_source, help="The source's name."
    )
    return option(function)


def sources_option(what: str) -> Callable[[Decorated], Decorated]:
    """`--source NAME`, any number of times; `what` is its help."""
    return click.option("--source", "sources", multiple=True, metavar="NAME", shell_complete=complete_source, help=what)


def complete_consumer(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of registered consumers that begin so."""
    from differ.config import load
    from differ.errors import DifferError
    from differ.project import Project

    project = ctx.params.get("project") or ctx.find_root().params.get("project")
    try:
        with Project(load(Path(project) if project else None)) as opened:
            return [entry.name for entry in opened.consumers.all() if entry.name.startswith(incomplete)]
    except DifferError:
        return []
