"""`differ scan --explain`: how each source would be read, compared and kept, without reading it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from differ.cli.session import Session
from differ.cli.terminal import clean
from differ.errors import DifferError

if TYPE_CHECKING:
    from differ.project import Project


def print_explanations(session: Session, project: Project, units: Sequence[tuple[str, ...]]) -> int:
    """Print one explanation a source; returns the exit code of the first failure to open one, else 0."""
    code = 0
    for unit in units:
        try:
            found = project.explain(unit)
        except DifferError as error:
            code = code or error.exit_code
            if session.as_json:
                session.terminal.json({"source": unit[0], "error": error.message, "hint": error.hint})
            session.terminal.complain(error.message, error.hint)
            continue
        for explanation in found:
            _print(session, explanation)
    return code


def _print(session: Session, explanation: dict[str, Any]) -> None:
    if session.as_json:
        session.terminal.json(explanation)
        return
    session.terminal.line(explanation["source"])
    for name, value in explanation.items():
        if name != "source" and value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            session.terminal.line(f"  {name:<11} {clean(shown)}")
