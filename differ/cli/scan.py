"""`differ scan`: one cycle of one or more sources, now."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from differ.cli.command import command
from differ.cli.parameters import complete_group, sources_option
from differ.cli.results import exit_code, print_result
from differ.cli.session import Session
from differ.errors import InterruptedScanError, UsageError

if TYPE_CHECKING:
    from differ.cli.preview import Preview
    from differ.cycle.procedure import Progress
    from differ.model import CycleResult
    from differ.project import Project

Unit = tuple[str, ...]


@command(example="differ scan --source orders\ndiffer scan --all --fail-if-changed --json")
@sources_option("Scan this source, or its consistency group. May be given several times.")
@click.option(
    "--consistency-group",
    "group",
    metavar="NAME",
    shell_complete=complete_group,
    help="Scan this group.",
)
@click.option("--all", "everything", is_flag=True, help="Scan every source that is not paused.")
@click.option("--unless-paused", is_flag=True, help="Leave out what is paused, also when it is named.")
@click.option("--dry-run", is_flag=True, help="Commit nothing; show what would be.")
@click.option("--fail-if-changed", is_flag=True, help="Exit with 1 when rows changed.")
@click.option("--wait", is_flag=True, help="Where another process scans the source, wait for it.")
@click.option("--explain", is_flag=True, help="Scan nothing; show how each source would be read and kept.")
@click.option("--with-parent", type=int, hidden=True, help="End at once when this parent process ends.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Events that --dry-run shows.")
@click.pass_obj
def scan(  # noqa: PLR0913, PLR0917  (one for each option)
    session: Session,
    sources: tuple[str, ...],
    group: str | None,
    everything: bool,
    unless_paused: bool,
    dry_run: bool,
    fail_if_changed: bool,
    wait: bool,
    explain: bool,
    with_parent: int | None,
    limit: int,
) -> int:
    """Run one cycle now: scan, compare, commit.

    Each source ends as committed, unchanged, held by a guard, or failed; one failure does not stop the others. The exit
    code is the worst: 5 corruption, 3 failed, 2 misconfigured, 4 held, 6 busy, 1 changed (with --fail-if-changed), 0.
    """
    if with_parent is not None:
        from differ.cli.apart import end_with

        end_with(with_parent)
    with session.open() as project:
        units = _units(session, project, sources, group, everything)
        if unless_paused:
            awake = set(project.units())
            for unit in [unit for unit in units if unit not in awake]:
                session.terminal.note(f"{', '.join(unit)}: paused")
                units.remove(unit)
        if explain:
            from differ.cli.explain import print_explanations

            return print_explanations(session, project, units)
        preview = None
        if dry_run and not session.as_json:
            from differ.cli.preview import Preview

            preview = Preview(session.terminal, limit)
        return _scan_units(
            session, project, units, preview, wait=wait, dry_run=dry_run, fail_if_changed=fail_if_changed
        )


def _units(
    session: Session, project: Project, sources: Sequence[str], group: str | None, everything: bool
) -> list[Unit]:
    """What to scan, one window each."""
    if sum((bool(sources), group is not None, everything)) != 1:
        known = ", ".join(project.settings.sources) or "none yet: add one to scheduler.yaml"
        raise UsageError(
            "scan: name what to scan by exactly one of --source, --consistency-group and --all",
            hint=f"the sources are: {known}",
        )
    if everything:
        units = project.units()
        if not units:
            session.terminal.note("nothing to scan: scheduler.yaml has no source that is not paused")
        return units
    if group is not None:
        return [tuple(project.settings.group(group).sources)]
    chosen: list[Unit] = []
    for name in sources:
        found = project.settings.group_of(project.settings.source(name).name)
        unit = tuple(found.sources) if found else (name,)
        if found and unit not in chosen and set(unit) - set(sources):
            session.terminal.note(f"{name} is read together with {found.name}: {', '.join(found.sources)}")
        if unit not in chosen:
            chosen.append(unit)
    return chosen


def _scan_units(
    session: Session,
    project: Project,
    units: Sequence[Unit],
    preview: Preview | None,
    *,
    wait: bool,
    dry_run: bool,
    fail_if_changed: bool,
) -> int:
    from differ.cli.apart import needs_a_process, scan_apart

    results: list[CycleResult] = []
    width = max((len(name) for unit in units for name in unit), default=0)
    for unit in units:
        session.interrupts.check()
        if len(units) > 1 and not dry_run and needs_a_process(project, unit):
            found = scan_apart(session, project, unit, wait=wait)
        else:
            found = scan_unit(session, project, unit, preview, wait=wait, dry_run=dry_run)
        for result in found:
            results.append(result)
            print_result(session, result, width=width)
            if preview is not None:
                preview.print(result)
    return exit_code(results, fail_if_changed=fail_if_changed)


def scan_unit(
    session: Session, project: Project, unit: Unit, preview: Preview | None, *, wait: bool, dry_run: bool
) -> list[CycleResult]:
    """Run one cycle of a unit with progress; a signal before its commit raises InterruptedScanError."""
    from differ.cli.progress import ScanProgress
    from differ.cycle.procedure import RunOptions

    with ScanProgress(session.terminal) as display:

        def notice(progress: Progress) -> None:
            if progress.phase == "commit":
                # From here it is milliseconds; a signal must not undo what may be committed already.
                session.interrupts.shield()
            display.notice(progress)

        options = RunOptions(
            wait=wait, dry_run=dry_run, on_progress=notice, on_events=preview.take if preview is not None else None
        )
        try:
            with contextlib.redirect_stdout(sys.stderr):  # results alone go to stdout, whatever a plugin prints
                return project.scan_unit(unit, options)
        except (KeyboardInterrupt, InterruptedScanError):
            display.stop()
            names = ", ".join(unit)
            raise InterruptedScanError(f"scan {names}: interrupted; nothing of it was committed") from None
        finally:
            session.interrupts.release()
