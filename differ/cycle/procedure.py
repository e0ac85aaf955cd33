"""Run one cycle of one source, or of the sources of a consistency group as one window.

    lock -> begin -> scan and compare and write, as the batches stream by -> guards -> one commit -> retention

Everything is rolled back on any failure: nothing refers to what was written. Source: Netflix Hollow's producer cycle.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from differ.catalog.commit import commit, hold, hold_hash
from differ.catalog.locks import source_locks
from differ.config import SourceSettings
from differ.cycle.attempt import Attempt
from differ.cycle.place import Place
from differ.errors import BusyError, CorruptionError, DifferError, InterruptedScanError, UsageError, redact
from differ.executors import Deadline, ReaderThread
from differ.formats.batch import EventBatch
from differ.iterators.discovery import find_iterator
from differ.model import CycleResult
from differ.records.pandas_later import ask_pandas_later
from differ.relay.reader import staged_batches
from differ.storage import seam

log = logging.getLogger(__name__)
CLOSE_SECONDS = 5.0
INTERRUPTED_CLOSE_SECONDS = 0.5

Notice = Callable[["Progress"], None]
Seen = Callable[[Sequence[EventBatch]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a cycle is: phase is scan, write or commit; rows were read so far; of about `expected` rows."""

    source: str
    phase: str
    rows: int
    expected: int | None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a cycle is run. on_events: called with the staged events of a dry run before they are thrown away."""

    wait: bool = False
    dry_run: bool = False
    on_progress: Notice | None = None
    on_events: Seen | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


def run_cycles(place: Place, names: Sequence[str], options: RunOptions | None = None) -> list[CycleResult]:
    """Run one cycle of these sources as one window and return a result for each, in the order given.

    A failure is a result with status `failed` (or `busy`), the error's text and exit code. Raises UsageError for an
    unknown source, and InterruptedScanError after cleaning up when it was interrupted.
    """
    ask_pandas_later()
    chosen = options or RunOptions()
    settings = [place.settings.source(name) for name in names]
    try:
        with source_locks(place.catalog, place.locks, names, wait=chosen.wait):
            return _Run(place, settings, chosen).run()
    except BusyError as error:
        return [_ended(name, _last_cycle(place, name), "busy", error) for name in names]
    except InterruptedScanError:
        raise
    except DifferError as error:
        return [_ended(name, _last_cycle(place, name), "failed", error) for name in names]


class _Run:
    """The sources of one commit; the caller holds their locks."""

    def __init__(self, place: Place, settings: list[SourceSettings], options: RunOptions) -> None:
        self._place, self._settings, self._options = place, settings, options
        self._commit_id = str(uuid.uuid4())
        self._attempts: list[Attempt] = []
        self._begun: dict[str, int] = {}
        self._deciding = False

    def run(self) -> list[CycleResult]:
        """Begin, read, decide; a failure of one source fails all of the window."""
        begun = self._begun
        try:
            for settings in self._settings:
                self._begin(settings)
            self._read()
            return self._end()
        except (KeyboardInterrupt, InterruptedScanError) as error:
            stop = InterruptedScanError(f"scan {', '.join(s.name for s in self._settings)}: interrupted")
            self._fail(begun, stop)
            raise stop from error
        except DifferError as error:
            return self._fail(begun, error)
        except (Exception, SystemExit) as error:
            log.debug("traceback", exc_info=True)
            text = redact(f"scan {self._settings[0].name}: unexpected {type(error).__name__}: {error}")
            return self._fail(begun, DifferError(text, hint="this is a defect of differ or of the plugin; see the log"))

    def _begin(self, settings: SourceSettings) -> None:
        source = settings.name
        seam.at("cycle.begin")
        if self._options.dry_run:
            found = self._place.catalog.source(source)
            entry = found or self._place.catalog.unborn(source)
            cycle = entry.cycles + 1
        else:
            self._place.catalog.fail_unfinished(source)
            try:
                self._place.sweep(source)
            except CorruptionError as error:
                log.error("sweep skipped source=%s: %s", source, error.message)
            entry, cycle = self._place.catalog.begin_cycle(source, self._commit_id)
            self._begun[source] = cycle
        if entry.current is None and not entry.rebaseline:
            self._place.check_foreign(source)
        spec = find_iterator(settings.iterator, self._place.settings.project)
        self._attempts.append(Attempt(self._place, settings, spec, entry, cycle))

    def _read(self) -> None:
        name = ",".join(settings.name for settings in self._settings)
        timeouts = [s.timeout_seconds for s in self._settings if s.timeout_seconds is not None]
        deadline = Deadline(min(timeouts) if timeouts else None, f"scan {name}")
        # Closed in the reader's thread alone: where that hangs in its driver, so would whoever closes the connection.
        stack = ExitStack()
        with ReaderThread(name, self._options.cancelled, deadline) as thread:
            for attempt in self._attempts:
                attempt.ctx.cancelled = thread.stopped
            try:
                self._connect(thread, stack)
                for attempt in self._attempts:
                    attempt.read(thread, self._notice(attempt, "scan"))
            except BaseException as error:
                thread.stopped.set()
                if isinstance(error, KeyboardInterrupt):
                    self._options.cancelled.set()
                raise
            finally:
                patience = INTERRUPTED_CLOSE_SECONDS if self._options.cancelled.is_set() else CLOSE_SECONDS
                thread.finish([*(attempt.scan.close for attempt in self._attempts), stack.close], patience)

    def _connect(self, thread: ReaderThread, stack: ExitStack) -> None:
        """Open the one consistent read that all sources of the window share."""
        first = self._attempts[0]
        if len(self._attempts) > 1:
            stores = {thread.call(lambda a=a: a.spec.store(a.ctx)) for a in self._attempts}  # type: ignore[misc]
            if len(stores) > 1 or None in stores:
                names = ", ".join(attempt.source for attempt in self._attempts)
                raise UsageError(
                    f"scan {names}: the sources of a consistency group must share one store with a consistent read",
                    hint="give them the same url, or take them out of the group",
                )
        opened: AbstractContextManager[Any] = thread.call(lambda: first.spec.connect(first.ctx))
        handle = thread.call(lambda: stack.enter_context(opened))
        for attempt in self._attempts:
            attempt.ctx.handle = handle

    def _end(self) -> list[CycleResult]:
        held = [reason for attempt in self._attempts for reason in attempt.reasons]
        if self._options.dry_run:
            return self._show(held)
        for attempt in self._attempts:
            self._notice(attempt, "commit")(attempt.rows)
        if held:
            return self._hold()
        self._deciding = True
        with self._attempts[0]._timed("commit"):
            results = commit(self._place.catalog, self._commit_id, [a.proposal() for a in self._attempts])
        return [self._committed(a, body) for a, body in zip(self._attempts, results, strict=True)]

    def _committed(self, attempt: Attempt, body: dict[str, Any]) -> CycleResult:
        with suppress(DifferError):  # the commit stands; what could not be swept is swept at the next begin
            attempt.tidy()
            self._place.retire(attempt.source)
        result = attempt.result(
            body["status"], scn_first=body["scn_first"], scn_last=body["scn_last"], schema=body["schema"]
        )
        log.info(
            "cycle source=%s cycle=%d status=%s rows=%d inserts=%d updates=%d deletes=%d seconds=%.3f",
            result.source, result.cycle, result.status, result.rows, result.inserts, result.updates, result.deletes,
            result.seconds["total"],
        )  # fmt: skip
        return result

    def _hold(self) -> list[CycleResult]:
        digest = hold_hash([attempt.proposal() for attempt in self._attempts])
        results = []
        for attempt in self._attempts:
            reasons = attempt.reasons or ["another source of its consistency group is held"]
            results.append(attempt.result("held", reason="; ".join(reasons), hash=digest, exit_code=4))
        pairs = zip(self._attempts, results, strict=True)
        proposals = [replace(attempt.proposal(), result=result.to_json()) for attempt, result in pairs]
        self._deciding = True
        hold(self._place.catalog, self._commit_id, proposals)
        for attempt in self._attempts:
            with suppress(DifferError):
                attempt.tidy()
                self._place.sweep(attempt.source)
            log.warning("cycle held source=%s cycle=%d: %s", attempt.source, attempt.cycle, "; ".join(attempt.reasons))
        return results

    def _show(self, held: list[str]) -> list[CycleResult]:
        results = []
        for attempt in self._attempts:
            reason = "would be held: " + "; ".join(held) if held else None
            results.append(attempt.result("dry-run", reason=reason))
            if self._options.on_events is not None and attempt.staged is not None:
                self._options.on_events(
                    staged_batches(self._place.state, attempt.source, attempt.cycle, attempt.staged)
                )
            attempt.discard()
        return results

    def _fail(self, begun: dict[str, int], error: DifferError) -> list[CycleResult]:
        """Remove what was written and record the failure; what cannot be done now is done at the next begin.

        Once the catalog was asked to decide, it alone knows whether the files are referred to: then what it decided
        stands, and where it cannot be asked every file stays for the next begin to look at.
        """
        if self._deciding and (decided := self._decided()) is not None:
            log.warning("cycle source=%s: after its commit: %s", decided[0].source, error.message)
            return decided
        error = self._fenced() or error
        results = []
        for attempt in self._attempts:
            with suppress(DifferError):
                attempt.discard()
        for settings in self._settings:
            cycle = begun.get(settings.name) or _last_cycle(self._place, settings.name)
            status = "busy" if isinstance(error, BusyError) else "failed"
            result = _ended(settings.name, cycle, status, error)
            results.append(result)
            log.error("cycle failed source=%s: %s", settings.name, error.message)
            if settings.name in begun and not self._options.dry_run:
                with suppress(DifferError):
                    self._place.catalog.end_cycle(settings.name, cycle, "failed", result.to_json())
        return results

    def _decided(self) -> list[CycleResult] | None:
        """The results that the catalog recorded for this window; None where it recorded none."""
        entries = {entry.source: entry for entry in self._place.catalog.cycles(commit_id=self._commit_id)}
        statuses = {entries[source].status for source in self._begun if source in entries}
        if not statuses or not statuses <= {"committed", "unchanged", "held"}:
            return None
        results = [CycleResult.from_json(entries[attempt.source].result) for attempt in self._attempts]
        return [replace(result, exit_code=4) if result.status == "held" else result for result in results]

    def _fenced(self) -> BusyError | None:
        """The error of a process that lost its source to another one, which has swept its files away by now."""
        for attempt in () if self._options.dry_run else self._attempts:
            with suppress(DifferError):
                entry = self._place.catalog.source(attempt.source)
                if entry is not None and entry.epoch != attempt.entry.epoch:
                    return BusyError(
                        f"scan {attempt.source}/{attempt.cycle}: another process took the source over",
                        hint="nothing was committed; run it again",
                    )
        return None

    def _notice(self, attempt: Attempt, phase: str) -> Callable[[int], None]:
        notice = self._options.on_progress
        if notice is None:
            return lambda rows: None
        expected = attempt.ctx.expected_rows or (attempt.ctx.previous.rows if attempt.ctx.previous else None)
        return lambda rows: notice(Progress(source=attempt.source, phase=phase, rows=rows, expected=expected))


def _ended(source: str, cycle: int, status: Any, error: DifferError) -> CycleResult:
    return CycleResult(
        source=source, cycle=cycle, status=status, error=error.message, hint=error.hint, exit_code=error.exit_code
    )


def _last_cycle(place: Place, source: str) -> int:
    with suppress(DifferError):
        entry = place.catalog.source(source)
        return entry.cycles if entry else 0
    return 0
