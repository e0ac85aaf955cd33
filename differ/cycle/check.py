"""Verify everything at rest: the catalog against itself, and every file against what the catalog says of it.

Without `read_data` it reads the catalog, all manifests and the sizes of all files; with it, it hashes every file,
decodes the current rows and fingerprints them again. It changes nothing and takes no lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from sqlalchemy import func, select

from differ.catalog import CycleEntry, SegmentEntry, SourceEntry, WindowEntry, tables
from differ.catalog.catalog import GENESIS
from differ.catalog.commit import chain_hash
from differ.catalog.consumer_damage import damage
from differ.catalog.reading import read_stream
from differ.cycle.place import Place
from differ.diff.encoding import Encoding
from differ.errors import CorruptionError, DifferError
from differ.formats import checked
from differ.snapshots.run import ABSENT
from differ.snapshots.snapshot import Snapshot
from differ.storage import StoredFile, verify
from differ.storage.files import check_size, storage_errors

DamagedPart = Literal["catalog", "snapshot", "held", "segment", "absent", "sums", "consumers", "dead letters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. cycle: of a snapshot or held cycle; first_scn: of a segment; record: table and key in
    the consumers' database, None for all of it; path: of dead letters and other files that nothing else names."""

    part: DamagedPart
    problem: str
    source: str | None = None
    cycle: int | None = None
    first_scn: int | None = None
    record: tuple[str, ...] | None = None
    path: Path | None = None


def check(place: Place, *, read_data: bool = False) -> Iterator[Finding]:
    """Yield what is wrong, nothing when all is well. Cost: with `read_data`, one read of everything kept."""
    yield from _check_letters(place)
    try:
        yield from _check_catalog(place, read_data=read_data)
    except CorruptionError as error:  # Without the catalog nothing says what should be there.
        yield Finding(part="catalog", problem=error.message)


def _check_catalog(place: Place, *, read_data: bool) -> Iterator[Finding]:
    """The catalog, and all that it refers to."""
    place.catalog.verify()
    yield from _check_windows(place)
    yield from _check_bytes(place)
    yield from _check_foreign(place)
    for found in damage(place.consumers):
        yield Finding(part="consumers", problem=found.problem, record=found.record)
    for source in [entry.name for entry in place.catalog.sources()]:
        entries, damaged = _cycles(place, source)
        yield from damaged
        current = place.catalog.source(source)
        for entry in entries:
            if entry.staged is not None and entry.staged.manifest is not None:
                part: DamagedPart = "held" if entry.status == "held" else "snapshot"
                is_current = current is not None and current.current == entry.cycle
                problem = _snapshot_problem(place, entry, read_data=read_data, rows=read_data and is_current)
                if part == "held":
                    problem = problem or _held_problem(place, entry, read_data=read_data)
                if problem:
                    yield Finding(part=part, problem=problem, source=source, cycle=entry.cycle)
        if current is not None:
            yield from _check_beside(place, current, read_data=read_data)
    for segment in place.catalog.segments():
        problem = _segment_problem(place, segment, read_data=read_data)
        if problem:
            yield Finding(part="segment", problem=problem, source=segment.source, first_scn=segment.first_scn)


def _check_beside(place: Place, entry: SourceEntry, *, read_data: bool) -> Iterator[Finding]:
    """The files beside a source's state: keys whose delete waits, and checksums of key ranges."""
    sums = place.kept_sums(entry)
    beside: list[tuple[DamagedPart, StoredFile | None]] = [
        ("absent", entry.absent),
        ("sums", sums.file if sums else None),
    ]
    for part, file in beside:
        # Without its sums a source is read as a whole, and gets new ones.
        if file is not None and (part != "sums" or (place.state / file.path).exists()):
            problem = _file_problem(place, file, f"{part} of {entry.name}", read_data=read_data)
            if problem:
                yield Finding(part=part, problem=problem, source=entry.name, path=place.state / file.path)


def _check_letters(place: Place) -> Iterator[Finding]:
    """The dead letters of consumers that run here. A last line without an end is what a crash left."""
    for path in sorted((place.state / "dead-letters").glob("*.jsonl")):
        with storage_errors("read dead letters", path), path.open("rb") as file:
            try:
                for _ in checked.lines(file):
                    pass
            except ValueError as error:
                yield Finding(part="dead letters", problem=f"dead letters {path}: {error}", path=path)


def _check_foreign(place: Place) -> Iterator[Finding]:
    """Finished cycles of streams that this catalog does not know: a lost or mistaken catalog, or a beginning anew."""
    folders = [path.name for path in place.snapshots.iterdir() if path.is_dir()] if place.snapshots.is_dir() else []
    for source in sorted(folders):
        for mark, count in place.foreign(source).items():
            yield Finding(
                part="catalog",
                problem=f"snapshots of {source} hold {count} cycles of stream {mark}, which this catalog does not know",
                source=source,
            )


def _cycles(place: Place, source: str) -> tuple[list[CycleEntry], list[Finding]]:
    """The kept cycles that can be read, and a finding for each row that is not what was written."""
    table = tables.cycles
    query = select(table).where(table.c.source == source, table.c.status.in_(["committed", "held"]))
    entries, findings = [], []
    with place.catalog.reading() as connection:
        rows = connection.execute(query.order_by(table.c.cycle)).all()
    for row in rows:
        try:
            entries.append(CycleEntry.from_row(row))
        except CorruptionError as error:
            findings.append(Finding(part="catalog", problem=error.message, source=source, cycle=row.cycle))
    return entries, findings


def _check_windows(place: Place) -> Iterator[Finding]:
    with place.catalog.reading() as connection:
        stream = read_stream(connection)
        rows = connection.execute(select(tables.windows).order_by(tables.windows.c.first_scn))
        windows = [WindowEntry.from_row(row) for row in rows]
    chain, expected = stream.kept_after_chain, stream.oldest_scn
    if stream.kept_after_scn == 0 and chain != GENESIS:
        yield Finding(part="catalog", problem="nothing was let go yet, and the chain does not begin at its beginning")
    for window in windows:
        name = f"window {window.first}..{window.last}"
        if window.first != expected:
            yield Finding(part="catalog", problem=f"{name} does not follow SCN {expected - 1}")
        expected = window.last + 1
        content = _content(place, window.commit_id)
        if content is not None:
            expected_chain = chain_hash(stream.stream_id, chain, window.first, window.last, content)
            if expected_chain != window.chain:
                yield Finding(part="catalog", problem=f"{name} is not what was committed: its chain does not hold")
        chain = window.chain
    if (expected - 1, chain) != (stream.head_scn, stream.chain):
        yield Finding(part="catalog", problem=f"the head is {stream.head_scn}, the last window ends at {expected - 1}")


def _check_bytes(place: Place) -> Iterator[Finding]:
    """Whether windows begin at the byte where those before them end; a lost segment leaves a gap, never an overlap."""
    windows, segments = tables.windows, tables.segments
    size = func.coalesce(func.sum(segments.c.bytes), 0)
    joined = windows.outerjoin(segments, segments.c.window_first == windows.c.first_scn)
    query = select(windows.c.first_scn, windows.c.start_bytes, size.label("bytes")).select_from(joined)
    grouped = query.group_by(windows.c.first_scn, windows.c.start_bytes)
    with place.catalog.reading() as connection:
        rows = connection.execute(grouped.order_by(windows.c.first_scn)).all()
        total = read_stream(connection).segment_bytes
    for row, end in zip(rows, [*(row.start_bytes for row in rows[1:]), total], strict=False):
        if row.start_bytes + row.bytes > end:
            problem = f"the window of SCN {row.first_scn} does not end where the next one begins, in bytes"
            yield Finding(part="catalog", problem=problem)


def _content(place: Place, commit_id: str) -> list[list[object]] | None:
    """What a window's chain was taken over, or None where retention let go of a part of it."""
    try:
        entries = place.catalog.cycles(commit_id=commit_id, status=["committed", "unchanged"])
    except CorruptionError:
        return None
    found: list[list[object]] = []
    for entry in entries:
        if entry.staged is None:
            return None
        found.append([entry.source, entry.cycle, entry.staged.to_json()])
    return found or None


def _snapshot_problem(place: Place, entry: CycleEntry, *, read_data: bool, rows: bool) -> str | None:
    what = f"snapshot {entry.source}/{entry.cycle}"
    try:
        manifest = place.manifest(entry)
        for file in manifest.files:
            (verify if read_data else check_size)(place.snapshots, file, what)
        return _rows_problem(Snapshot(place.snapshots, manifest)) if rows else None
    except DifferError as error:
        return error.message


def _held_problem(place: Place, entry: CycleEntry, *, read_data: bool) -> str | None:
    """What is wrong with the files that approving the cycle would make visible."""
    assert entry.staged is not None  # noqa: S101
    files = [segment.file for segment in entry.staged.segments]
    files += [entry.staged.absent] if entry.staged.absent else []
    what = f"held cycle {entry.source}/{entry.cycle}"
    return next(filter(None, (_file_problem(place, file, what, read_data=read_data) for file in files)), None)


def _file_problem(place: Place, file: StoredFile, what: str, *, read_data: bool) -> str | None:
    try:
        (verify if read_data else check_size)(place.state, file, what)
    except DifferError as error:
        return error.message
    return None


def _rows_problem(snapshot: Snapshot) -> str | None:
    """Whether each row of the current state has the hashes that the index says, and each index entry a row."""
    encoding = Encoding.of(snapshot)
    what = f"snapshot {snapshot.manifest.source}/{snapshot.manifest.cycle}"
    if encoding.layout != snapshot.manifest.encoding["layout"]:
        return None  # written by another encoder; its next cycle fingerprints it anew
    seen = 0
    for locations, batch in snapshot.located():
        hashes = encoding.fingerprint(batch)
        positions = snapshot.index.probe(hashes)
        if (positions == ABSENT).any():
            return f"{what}: a row's key is not in its index"
        pairs = (("row_hi", hashes.row_hi), ("row_lo", hashes.row_lo), ("loc", locations.astype(np.uint64)))
        if any((snapshot.index.gather(positions, name) != values).any() for name, values in pairs):
            return f"{what}: a row does not have the hash that its index says"
        seen += batch.num_rows
    return None if seen == snapshot.rows else f"{what}: it has {seen} rows, its manifest says {snapshot.rows}"


def _segment_problem(place: Place, segment: SegmentEntry, *, read_data: bool) -> str | None:
    what = f"events {segment.first_scn}..{segment.last_scn} of {segment.source}"
    try:
        path = (verify if read_data else check_size)(place.state, segment.file, what)
        if read_data:
            with pa.ipc.open_file(pa.memory_map(str(path))) as reader:
                rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
            if rows != segment.count:
                return f"{what}: {path} has {rows} events"
        return None
    except (pa.ArrowInvalid, OSError) as error:
        return f"{what}: {error}"
    except DifferError as error:
        return error.message
