"""The command `differ`: the table of its commands, and how every call ends.

Exit codes: 0 fine, 1 changes found and --fail-if-changed, 2 usage or configuration, 3 source or scan failed, 4 held by
a guard, 5 corruption found, 6 another writer holds the source, 7 relay or consumer error, 130 interrupted.

Invariant: whatever goes wrong is one paragraph on stderr, never a traceback (unless -vv), never a secret.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

import click

from differ import __version__
from differ.cli.command import Entry, LazyGroup, ReaderGoneError
from differ.cli.session import Session
from differ.errors import DifferError, InterruptedScanError, UsageError

SECTIONS = {
    "Begin": {
        "init": Entry(module="init", name="init", line="Make a new project, or a sample shop to play with."),
        "iterator": Entry(module="iterator", name="iterator", line="Make and test iterator plugins."),
        "config": Entry(module="config", name="config", line="Check and show scheduler.yaml."),
    },
    "Capture": {
        "scan": Entry(module="scan", name="scan", line="Run one cycle now: scan, compare, commit."),
        "run": Entry(module="schedule", name="run", line="Run scheduler, relay and sinks until stopped."),
        "modules": Entry(module="modules", name="modules", line="Show, start, stop and pause what 'differ run' runs."),
        "pause": Entry(module="schedule", name="pause", line="Leave a source out of the schedule."),
        "resume": Entry(module="schedule", name="resume", line="Take a source back into the schedule."),
        "approve": Entry(module="held", name="approve", line="Commit a cycle that a guard holds."),
        "reject": Entry(module="held", name="reject", line="Throw away a cycle that a guard holds."),
        "rebaseline": Entry(module="schedule", name="rebaseline", line="Scan and start a new base, without events."),
    },
    "Read": {
        "status": Entry(module="status", name="status", line="Show where every source stands."),
        "sources": Entry(module="status", name="sources", line="Show how the sources are configured."),
        "events": Entry(module="events", name="events", line="Print change events, and follow them."),
        "history": Entry(module="history", name="history", line="Show everything that happened to one key."),
        "diff": Entry(module="history", name="diff", line="Show net changes between two SCNs."),
        "export": Entry(module="export", name="export", line="Write the state of a source as of an SCN to a file."),
        "snapshot": Entry(
            module="snapshot", name="snapshot", line="Show where the current state lies, and how to read it."
        ),
        "schemas": Entry(module="schemas", name="schemas", line="Show every version of a source's schema."),
    },
    "Care": {
        "consumers": Entry(module="consumers", name="consumers", line="Show, reset and remove consumers."),
        "dead-letters": Entry(
            module="deadletters", name="dead_letters", line="Show, replay and drop events that were put aside."
        ),
        "check": Entry(module="care", name="check", line="Verify everything on disk."),
        "repair": Entry(module="care", name="repair", line="Mend what is damaged, with a plan first."),
        "compact": Entry(module="snapshot", name="compact", line="Write a new base for a source now."),
        "gc": Entry(module="care", name="gc", line="Remove files that nothing refers to."),
        "completion": Entry(module="completion", name="completion", line="Print the completion script of a shell."),
    },
}

GC_THRESHOLDS = (200_000, 20, 20)
"""The first is more than what all imports of a scan make, so that a short command never looks for garbage."""


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    example="differ init shop --demo && cd shop && differ scan --all && differ events",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="differ", message="%(prog)s %(version)s")
def cli() -> None:
    """Capture changes from any store that can be read.

    differ scans a source, compares it with its last committed state, and commits the difference as change events.
    Results go to stdout, progress and logs to stderr.
    """


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Modules are no garbage: looking through them again and again while they are made costs a quarter of a short
    # command's time. What a scan makes is freed by counting references; cycles are looked for ever so often.
    gc.set_threshold(*GC_THRESHOLDS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:], alone=True)
    if threading.active_count() > 1:
        # A plugin left a thread behind that may never end; Python would wait for those of a thread pool.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str], *, alone: bool = False) -> int:
    """Run one command and return its exit code; everything that goes wrong is told.

    alone: whether the process does nothing else.
    """
    session = Session(as_json=_asks_for_json(arguments), alone=alone)
    with session.interrupts.installed():
        try:
            code = _invoke(arguments, session)
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                code = _tell_unwritten(session, error)
        except (BrokenPipeError, ReaderGoneError):
            _let_go_of_stdout()
            return 0  # the reader has what it wanted
        except KeyboardInterrupt:
            code = _tell(session, InterruptedScanError("interrupted"))
        return code


def _invoke(arguments: Sequence[str], session: Session) -> int:
    try:
        result = cli.main(list(arguments), prog_name="differ", obj=session, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.exceptions.NoArgsIsHelpError as error:
        session.terminal.note(error.ctx.get_help())
        return UsageError.exit_code
    except click.ClickException as error:
        return _tell(session, DifferError(error.format_message(), hint=_usage_hint(error)), exit_code=error.exit_code)
    except DifferError as error:
        return _tell(session, error)
    except (BrokenPipeError, ReaderGoneError):
        raise
    except OSError as error:
        return _tell_unwritten(session, error)
    except Exception as error:
        return _tell_unexpected(session, error)


def _tell(session: Session, error: DifferError, *, exit_code: int | None = None) -> int:
    """Tell an error on stderr, and as JSON where JSON was asked for and nothing was printed yet."""
    code = error.exit_code if exit_code is None else exit_code
    with suppress(BrokenPipeError):
        if session.as_json and not session.terminal.printed:
            session.terminal.json({"error": {"message": error.message, "hint": error.hint, "exit_code": code}})
        session.terminal.complain(error.message, error.hint)
    if session.verbosity >= 2:
        logging.getLogger("differ.cli").debug("the error came from", exc_info=error)
    return code


def _tell_unwritten(session: Session, error: OSError) -> int:
    """Tell of a result that could not be written, or of a file that nothing better was said about."""
    what = f"use {error.filename}" if error.filename else "write the result"
    if not error.filename:
        _let_go_of_stdout()
    told = DifferError(f"{what}: {error.strerror or error}", hint="look at the disk, the permissions and where it goes")
    told.__cause__ = error
    return _tell(session, told)


def _tell_unexpected(session: Session, error: Exception) -> int:
    told = DifferError(
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a defect of differ; run it again with -vv to see the traceback, and report it",
    )
    told.__cause__ = error
    return _tell(session, told)


def _usage_hint(error: click.ClickException) -> str | None:
    context: Any = getattr(error, "ctx", None)
    return f"see '{context.command_path} --help'" if context is not None else None


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether --json is among the options; needed before parsing, for errors of parsing."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _let_go_of_stdout() -> None:
    """Let nobody try to flush a broken stdout at the end of the process."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
