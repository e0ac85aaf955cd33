"""A project as its users see it from Python; the command line says the same in words.

Every method that changes something is one cycle, one approval or one small catalog write, and safe to call from several
processes. Results are frozen records; nothing here prints. What a scan does not need is imported by the method that
does, since every scan that a schedule starts is a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from differ.catalog import Catalog
from differ.catalog.catalog import now
from differ.catalog.locks import source_locks
from differ.config import Settings
from differ.cycle import Place, approve, reject, run_cycles
from differ.cycle.procedure import RunOptions
from differ.errors import BusyError, CorruptionError, NotKeptError, UsageError
from differ.model import ChangeEvent, CycleResult
from differ.records.types import Schema
from differ.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from differ.catalog.consumer_entries import ConsumerEntry
    from differ.catalog.consumers import Consumers
    from differ.cycle.care import Mending
    from differ.cycle.check import Finding
    from differ.formats.batch import EventBatch
    from differ.formats.keys import Key


class Project:
    """An open project: its settings, catalog and folders. Use `differ.open`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, opened (and made, the first time) when first needed."""
        return Catalog(self.settings.storage.catalog)

    @cached_property
    def place(self) -> Place:
        """The folders with the catalog."""
        return Place(self.settings, self.catalog)

    @property
    def consumers(self) -> Consumers:
        """The consumers' database; opened when first needed, made by the first consumer."""
        return self.place.consumers

    def reload(self, settings: Settings) -> None:
        """Go on with other settings of the same project; `storage` is as it was when it was opened."""
        self.settings = settings
        self.place.settings = settings

    def close(self) -> None:
        """Close the connections to the databases; also done by leaving `with`."""
        if "place" in self.__dict__ and "consumers" in self.place.__dict__:
            self.consumers.close()
        if "catalog" in self.__dict__:
            self.catalog.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    # -- cycles ----------------------------------------------------------------------------------------------------

    def scan(self, source: str, options: RunOptions | None = None) -> CycleResult:
        """Run one cycle of a source now. A failed scan is a result with `status` "failed" and its error, not an
        exception; raises UsageError for a source that scheduler.yaml does not name."""
        group = self.settings.group_of(self.settings.source(source).name)
        if group is None:
            return run_cycles(self.place, [source], options)[0]
        results = run_cycles(self.place, group.sources, options)
        return next(result for result in results if result.source == source)

    def scan_group(self, group: str, options: RunOptions | None = None) -> list[CycleResult]:
        """Run one cycle of a consistency group: its sources in one consistent read, committed as one window."""
        return run_cycles(self.place, self.settings.group(group).sources, options)

    def scan_unit(self, unit: Sequence[str], options: RunOptions | None = None) -> list[CycleResult]:
        """Run one cycle of what `units` gives: one source, or all of a consistency group, as one window."""
        return run_cycles(self.place, unit, options)

    def explain(self, unit: Sequence[str]) -> list[dict[str, Any]]:
        """How each source of a unit would be read, compared and kept; opens them and reads no row."""
        from differ.cycle.explain import explain

        return explain(self.place, [self.settings.source(name).name for name in unit])

    def units(self, *, paused: bool = False) -> list[tuple[str, ...]]:
        """What `--all` runs, one window each: the groups, then the other sources; paused ones only when asked for."""
        grouped = {source for group in self.settings.consistency_groups.values() for source in group.sources}
        units = [tuple(group.sources) for group in self.settings.consistency_groups.values()]
        units += [(name,) for name in self.settings.sources if name not in grouped]
        resting = set() if paused else {entry.name for entry in self.catalog.sources() if entry.paused}
        return [unit for unit in units if not resting & set(unit)]

    def scan_all(self, options: RunOptions | None = None) -> list[CycleResult]:
        """One cycle of everything that is not paused, window after window; a failure does not stop the rest."""
        return [result for unit in self.units() for result in run_cycles(self.place, unit, options)]

    def approve(
        self, source: str, *, cycle: int | None = None, hash: str | None = None, wait: bool = False
    ) -> list[CycleResult]:
        """Commit what a guard holds; see `differ.cycle.ending.approve`."""
        return approve(self.place, source, cycle=cycle, hash=hash, wait=wait)

    def reject(
        self, source: str, *, cycle: int | None = None, hash: str | None = None, wait: bool = False
    ) -> list[CycleResult]:
        """Throw away what a guard holds; see `differ.cycle.ending.reject`."""
        return reject(self.place, source, cycle=cycle, hash=hash, wait=wait)

    def pause(self, source: str) -> None:
        """Leave the source out of the schedule and of `--all`; idempotent."""
        self.catalog.set_flag(self.settings.source(source).name, paused=True)

    def resume(self, source: str) -> None:
        """Take the source back into the schedule; idempotent."""
        self.catalog.set_flag(self.settings.source(source).name, paused=False)

    def rebaseline(self, source: str, options: RunOptions | None = None) -> CycleResult:
        """Scan now and make what is read the new base, without events; consumers of the source must bootstrap.

        Raises UsageError for a dry run: there is nothing to compare that it could show.
        """
        if options is not None and options.dry_run:
            raise UsageError(f"rebaseline {source}: it has no dry run", hint="a dry run of 'scan' shows the changes")
        self.catalog.set_flag(self.settings.source(source).name, rebaseline=True)
        return self.scan(source, options)

    # -- care ------------------------------------------------------------------------------------------------------

    def compact(self, source: str, *, wait: bool = False) -> CycleResult:
        """Write the current state of a source as one new base now; changes no row and makes no event."""
        from differ.cycle.care import compact

        return compact(self.place, self.known(source), wait=wait)

    def check(self, *, read_data: bool = False) -> list[Finding]:
        """Everything that is wrong on disk, [] when all is well; see `differ.cycle.check.check`."""
        from differ.cycle.check import Finding, check

        try:
            place = self.place
        except CorruptionError as error:  # The catalog cannot even be opened.
            return [Finding(part="catalog", problem=error.message)]
        return list(check(place, read_data=read_data))

    def plan_repair(self, findings: Sequence[Finding]) -> list[Mending]:
        """What `repair` would do for these findings."""
        from differ.cycle.care import beyond_repair, plan

        if all(finding.part == "catalog" for finding in findings):
            return [beyond_repair(finding) for finding in findings]
        return plan(self.place, findings)

    def repair(self, mendings: Sequence[Mending]) -> FilePath:
        """Carry out a plan; returns the folder of the quarantine."""
        from differ.cycle.care import repair

        return repair(self.place, mendings)

    def gc(self) -> int:
        """Sweep what nothing refers to and return the bytes removed."""
        from differ.cycle.care import gc

        return gc(self.place)

    # -- reading back ----------------------------------------------------------------------------------------------

    def snapshot(self, source: str, as_of: int | None = None) -> Snapshot:
        """The state of a source at an SCN (None: now). An SCN inside a window is rounded down to the window before;
        `Snapshot.scn` says which. Raises UsageError above the head, NotKeptError past retention."""
        return self.place.snapshot(source, as_of)

    def record(self, source: str, key: str) -> pa.RecordBatch | None:
        """The row of a key in the current state as a batch of one, or None. key: as on the command line.

        Cost: one read of the key columns. A text that may mean several keys of a json column gives all their rows.
        """
        from differ.formats.keys import parse_key
        from differ.snapshots.lookup import find

        snapshot = self.snapshot(source)
        return find(snapshot, parse_key(key, snapshot.schema))

    def held_batches(self, source: str) -> list[EventBatch]:
        """The events of the cycle that a guard holds, numbered from 1; raises UsageError when nothing is held."""
        from differ.relay.reader import staged_batches

        held = self.catalog.held(self.known(source))
        if held is None or held.staged is None:
            raise UsageError(f"read held events of {source}: nothing is held", hint="see 'differ status'")
        return staged_batches(self.place.state, source, held.cycle, held.staged)

    def event_batches(
        self,
        source: str | Sequence[str] | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        key: str | Mapping[str, Any] | None = None,
        across_floors: bool = False,
    ) -> Iterator[EventBatch]:
        """Columnar events above `since` (None: all that are kept) and up to `until`, in SCN order.

        key: as on the command line, or an event's `key`; needs one source. Raises UsageError for SCNs that make no
        sense, NotKeptError for events that retention let go.
        """
        from differ.relay.reader import EventReader

        names = [source] if isinstance(source, str) else list(source or ())
        for name in names:
            self.known(name)
        for scn in (since, until):
            if scn is not None and not isinstance(scn, int):
                raise UsageError(f"read events: {scn!r} is no SCN", hint="an SCN is a whole number")
        head = self.catalog.stream().head_scn
        oldest = self.catalog.oldest_scn()
        asked, since = since, oldest - 1 if since is None else since
        if since < 0 or (until is not None and until < since):
            raise UsageError(
                f"read events {since}..{until}: no such range",
                hint="SCNs are 0 or more, and 'until' is not below 'since'",
            )
        if since > head:
            raise UsageError(f"read events since SCN {since}: the head is {head}", hint="see 'differ status'")
        if since < oldest - 1:
            raise NotKeptError(
                f"read events since SCN {since}: the oldest that is kept is SCN {oldest}",
                hint=f"read on with since {oldest - 1}, from the state that 'differ export' gives; see relay.retention",
            )
        if asked is not None and not across_floors:
            self._check_floors(names, asked)
        batches = EventReader(self.catalog, self.place.state).batches(since, until, sources=names)
        return batches if key is None else self._of_key(batches, names, key)

    def events(
        self,
        source: str | Sequence[str] | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        key: str | Mapping[str, Any] | None = None,
    ) -> Iterator[ChangeEvent]:
        """The same as `event_batches`, event by event. key: also the `key` of an event."""
        from differ.formats.events import change_events

        batches = self.event_batches(source, since=since, until=until, key=key)
        return (event for batch in batches for event in change_events(batch))

    def _check_floors(self, names: Sequence[str], since: int) -> None:
        """Up to its floor, a source's events do not tell how its state came to be: nobody skips that unknowingly."""
        for entry in self.catalog.sources():
            if since < entry.floor_scn and (not names or entry.name in names):
                raise NotKeptError(
                    f"read events of {entry.name} since SCN {since}: its floor is SCN {entry.floor_scn}, where a new "
                    f"base began without events or damaged ones were lost",
                    hint=f"take the state from 'differ export --source {entry.name}', then read on from the floor",
                )

    def net_changes(self, source: str, since: int, until: int) -> Iterator[dict[str, Any]]:
        """What is different between the states at two SCNs: at most one change a key, as NDJSON objects."""
        from differ.formats.net import net_changes

        return net_changes(self.event_batches(source, since=since, until=until))

    def known(self, source: str) -> str:
        """The name, if scheduler.yaml or the catalog knows it; raises UsageError with the nearest one."""
        if self.catalog.source(source) is None:
            self.settings.source(source)
        return source

    def status(self) -> Mapping[str, Any]:
        """What `differ status --json` prints: stream, and where every source and consumer stands."""
        stream = self.catalog.stream()
        names = list(self.settings.sources)
        names += [entry.name for entry in self.catalog.sources() if entry.name not in self.settings.sources]
        consumers, damage = [], None
        try:
            consumers = self.following()
        except CorruptionError as error:  # Where the sources stand can still be told.
            damage = str(error)
        return {
            "stream": stream.stream_id,
            "head_scn": stream.head_scn,
            "oldest_scn": stream.oldest_scn,
            "sources": [self.source_status(name) for name in names],
            "consumers": consumers,
            "consumers_error": damage,
        }

    def source_status(self, name: str) -> dict[str, Any]:
        """Where one source stands, as `status` has it."""
        entry = self.catalog.source(name)
        held = self.catalog.held(name) if entry else None
        last = self.catalog.cycles(name, limit=1) if entry else []
        group = self.settings.group_of(name)
        configured = self.settings.sources.get(name)
        status, error = (last[0].status, last[0].result.get("error")) if last else ("never", None)
        if status == "running" and self._is_idle(name):
            status, error = "failed", f"scan {name}: its process ended in mid-scan"
        body: dict[str, Any] = {
            "source": name,
            "iterator": configured.iterator if configured else None,
            "group": group.name if group else None,
            "configured": configured is not None,
            "paused": bool(entry and entry.paused),
            "rows": None,
            "cycle": last[0].cycle if last else None,
            "status": status,
            "last_error": error,
            "seen_at": entry.seen_at.isoformat().replace("+00:00", "Z") if entry and entry.seen_at else None,
            "scn": None,
            "floor_scn": entry.floor_scn if entry else 0,
            "waiting_deletes": entry.absent.rows if entry and entry.absent else 0,
            "position": entry.position.text if entry and entry.position else None,
            "held": None,
        }
        if entry and entry.current is not None:
            current = self.catalog.cycle(name, entry.current)
            body |= {"rows": current.result.get("rows"), "scn": current.scn_last}
            if current.staged is not None and current.staged.manifest is not None:
                body["rows"] = current.staged.manifest.rows
        if held:
            body["held"] = {
                name: held.result.get(name)
                for name in ("cycle", "reason", "hash", "inserts", "updates", "deletes", "rows", "schema_changes")
            }
        return body

    def following(self, entries: Sequence[ConsumerEntry] | None = None) -> list[dict[str, Any]]:
        """Consumers (None: all) with their lag and what is kept for them; see `differ.relay.following`."""
        from differ.relay.following import following

        found = self.consumers.all() if entries is None else entries
        return following(self.catalog, found, self.settings.relay.retention, now())

    def _is_idle(self, name: str) -> bool:
        """Whether nobody scans the source now."""
        try:
            with source_locks(self.catalog, self.place.locks, [name]):
                return True
        except BusyError:
            return False

    def _of_key(
        self, batches: Iterator[EventBatch], names: list[str], key: str | Mapping[str, Any]
    ) -> Iterator[EventBatch]:
        from differ.formats.keys import key_mask, parse_key

        if len(names) != 1:
            raise UsageError(f"read events of key {key!r}: of which source?", hint="name one source")
        found = self.catalog.schemas(names[0])
        if not found:
            raise UsageError(
                f"read events of {names[0]}: it had no cycle yet", hint=f"run 'differ scan --source {names[0]}'"
            )
        schema = found[-1].schema
        parsed = parse_key(key, schema) if isinstance(key, str) else _key_of_values(key, schema, names[0])

        def matching() -> Iterator[EventBatch]:
            for batch in batches:
                chosen = batch.take(key_mask(batch, parsed))
                if len(chosen):
                    yield chosen

        return matching()


def _key_of_values(key: Mapping[str, Any], schema: Schema, source: str) -> Key:
    from differ.formats.keys import Key
    from differ.records.keytext import key_texts
    from differ.records.normalize import to_arrow

    if set(key) != set(schema.key):
        raise UsageError(
            f"read events of {source}: its key has the columns {', '.join(schema.key)}", hint="give them all"
        )
    row = to_arrow([dict(key)], source=source, types=schema.key_schema.types)
    return Key(shown=str(dict(key)), texts=frozenset(key_texts(row, schema.key_schema).to_pylist()))
