"""How the result of a cycle is told: one line for people, one JSON line for programs; and the exit code of many."""

from __future__ import annotations

from collections.abc import Iterable

from differ.cli.session import Session
from differ.cli.table import STATUS_STYLES
from differ.cli.terminal import count, duration
from differ.model import CycleResult

WORST_FIRST = (5, 3, 2, 4, 6, 7, 1, 0)


def exit_code(results: Iterable[CycleResult], *, fail_if_changed: bool = False) -> int:
    """The worst exit code among the results; 1 where rows changed and the caller wants to know."""
    codes = {0}
    for result in results:
        codes.add(result.exit_code)
        if fail_if_changed and result.changes and result.status in ("committed", "dry-run"):
            codes.add(1)
    return next(code for code in WORST_FIRST if code in codes)


def print_result(session: Session, result: CycleResult, *, width: int = 0) -> None:
    """Print one result. width: of the column with the source's name."""
    terminal = session.terminal
    if session.as_json:
        terminal.json(result.to_json())
        return
    status = terminal.styled(result.status, **STATUS_STYLES.get(result.status, {}))
    parts = [f"{result.source:<{width}}", f"cycle {result.cycle}", status]
    if result.status not in ("failed", "busy"):
        parts.append(f"{count(result.rows)} rows")
        parts.append(f"+{count(result.inserts)} ~{count(result.updates)} -{count(result.deletes)}")
    if result.scn_first is not None and result.scn_last is not None:
        parts.append(f"SCN {result.scn_first}..{result.scn_last}")
    if "total" in result.seconds:
        parts.append(duration(result.seconds["total"]))
    terminal.line("  ".join(parts))
    for change in result.schema_changes:
        terminal.labelled("  schema    ", change)
    if result.waiting_deletes:
        waiting = count(result.waiting_deletes)
        terminal.labelled("  waiting   ", f"{waiting} absent keys wait for a second scan to confirm their delete")
    if result.status == "dry-run" and result.reason:
        terminal.labelled("  guard     ", result.reason)
    if result.status == "held":
        _print_held(session, result)
    if result.error:
        terminal.complain(result.error, result.hint)


def _print_held(session: Session, result: CycleResult) -> None:
    line = session.terminal.line
    session.terminal.labelled("  why       ", result.reason or "a guard holds it")
    for verb, command in end_commands(result.source, result.cycle, result.hash).items():
        line(f"  {verb:<9} {command}")


def end_commands(source: str, cycle: int, hash: str | None) -> dict[str, str]:
    """The exact commands that end a held cycle."""
    bound = f"--source {source} --cycle {cycle} --hash {hash}"
    return {"approve": f"differ approve {bound}", "reject": f"differ reject {bound}"}
