"""`differ check`, `repair` and `gc`: what lies on disk is verified, mended by quarantine, and swept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from differ.cli.command import command
from differ.cli.session import Session
from differ.cli.table import Cell, Column, Table
from differ.cli.terminal import clean, count
from differ.errors import CorruptionError, UsageError

if TYPE_CHECKING:
    from differ.cycle.care import Mending
    from differ.cycle.check import Finding


@command(example="differ check --read-data")
@click.option("--read-data", is_flag=True, help="Also read every file and verify every row of the current states.")
@click.pass_obj
def check(session: Session, read_data: bool) -> int:
    """Verify everything on disk; exits with 5 when something is damaged. Changes nothing."""
    with session.open() as project:
        findings = project.check(read_data=read_data)
    if session.as_json:
        session.terminal.json({"ok": not findings, "findings": [asdict(finding) for finding in findings]})
    elif findings:
        columns = [Column(title=title) for title in ("part", "source", "problem")]
        Table(session.terminal, columns).print([_finding_row(finding) for finding in findings])
    else:
        session.terminal.line("all is well" + ("" if read_data else "; --read-data verifies every byte as well"))
    if findings:
        session.terminal.complain(
            f"check: {count(len(findings))} damaged", "'differ repair --dry-run' shows what can be mended and how"
        )
        return CorruptionError.exit_code
    return 0


def _finding_row(finding: Finding) -> Sequence[Cell]:
    return [finding.part, finding.source or "-", finding.problem]


@command(example="differ repair --dry-run")
@click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")
@click.option("--yes", is_flag=True, help="Carry the plan out without asking.")
@click.pass_obj
def repair(session: Session, dry_run: bool, yes: bool) -> int:
    """Mend what 'differ check --read-data' finds, by moving it to quarantine; shows its plan first.

    Nothing is invented: who needs what was damaged is told to begin anew from a snapshot. Exits with 5 while something
    damaged is left.
    """
    with session.open() as project:
        mendings = project.plan_repair(project.check(read_data=True))
        if not mendings:
            _tell(session, [], None, "nothing is damaged")
            return 0
        possible = [mending for mending in mendings if mending.possible]
        if dry_run or not possible:
            _tell(session, mendings, None, "")
            return CorruptionError.exit_code
        if not yes:
            _ask(session, mendings)
        with session.interrupts.shielded():
            folder = project.repair(possible)
        _tell(session, mendings, str(folder), f"mended {count(len(possible))}; the damaged files are in {folder}")
    return CorruptionError.exit_code if len(possible) < len(mendings) else 0


def _ask(session: Session, mendings: Sequence[Mending]) -> None:
    if not session.terminal.can_ask or session.as_json:
        raise UsageError(
            f"repair: {count(len(mendings))} damaged, and there is no terminal to ask on",
            hint="see the plan with --dry-run, then give --yes",
        )
    for mending in mendings:
        session.terminal.note(f"- {clean(mending.finding.problem)}\n  {clean(_step(mending))}")
    if not session.agrees("carry this out?"):
        raise CorruptionError("repair: you said no, and nothing was changed")


def _tell(session: Session, mendings: Sequence[Mending], folder: str | None, text: str) -> None:
    if session.as_json:
        plan: list[dict[str, Any]] = [
            {"problem": m.finding.problem, "source": m.finding.source, "step": m.step, "possible": m.possible}
            for m in mendings
        ]
        session.terminal.json({"plan": plan, "quarantine": folder})
        return
    if folder is None and mendings:
        columns = [Column(title="problem"), Column(title="step")]
        Table(session.terminal, columns).print([[m.finding.problem, _step(m)] for m in mendings])
    if text:
        session.terminal.line(text)


def _step(mending: Mending) -> str:
    return mending.step if mending.possible else f"by hand: {mending.step}"


@command(example="differ gc")
@click.pass_obj
def gc(session: Session) -> None:
    """Remove files that nothing refers to. What a source that is being scanned writes is left alone."""
    with session.open() as project:
        removed = project.gc()
    if session.as_json:
        session.terminal.json({"removed_bytes": removed})
    else:
        session.terminal.line(f"removed {count(removed)} bytes")
