"""The one table of formats in which events leave differ; the command line, the server and sinks read it.

A table for people is made by `differ.formats.table` and printed by the command line; it is not a format of
bytes. Invariant: `write` closes what it began, also when it raises, so that its output can be read up to
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from differ.errors import UsageError
from differ.formats.batch import EventBatch

Writer = Callable[[Iterable[EventBatch], BinaryIO], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format. `write` writes all batches and returns how many events; `one_run` is true where one
    output holds one source and one schema, so that `write` raises UsageError at the next (see
    `differ.formats.runs`)."""

    name: str
    description: str
    media_type: str
    extension: str
    one_run: bool
    write: Writer


def event_format(name: str) -> Format:
    """The format of this name. Raises UsageError that lists the names there are."""
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"format {name!r}: there is no such format", hint=f"one of: {', '.join(FORMATS)}")
    return found


def _ndjson(batches: Iterable[EventBatch], out: BinaryIO) -> int:
    from differ.formats.ndjson import event_lines

    return _write_lines(batches, out, event_lines)


def _debezium(batches: Iterable[EventBatch], out: BinaryIO) -> int:
    from differ.formats.debezium import lines

    return _write_lines(batches, out, lines)


def _cloudevents(batches: Iterable[EventBatch], out: BinaryIO) -> int:
    from differ.formats.cloudevents import event_lines

    return _write_lines(batches, out, event_lines)


def _avro(batches: Iterable[EventBatch], out: BinaryIO) -> int:
    from differ.formats.avro import write_avro

    return write_avro(batches, out)


def _arrow(batches: Iterable[EventBatch], out: BinaryIO) -> int:
    from differ.formats.arrow import write_stream

    return write_stream(batches, out)


def _write_lines(batches: Iterable[EventBatch], out: BinaryIO, lines: Callable[[EventBatch], Iterator[bytes]]) -> int:
    count = 0
    for batch in batches:
        out.writelines(lines(batch))
        out.flush()
        count += len(batch)
    return count


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(
            name="ndjson",
            description="one JSON object a line",
            media_type="application/x-ndjson",
            extension="ndjson",
            one_run=False,
            write=_ndjson,
        ),
        Format(
            name="debezium",
            description="the Debezium envelope as JSON, one a line",
            media_type="application/x-ndjson",
            extension="debezium.ndjson",
            one_run=False,
            write=_debezium,
        ),
        Format(
            name="cloudevents",
            description="CloudEvents 1.0 structured JSON, one a line",
            media_type="application/x-ndjson",
            extension="cloudevents.ndjson",
            one_run=False,
            write=_cloudevents,
        ),
        Format(
            name="avro",
            description="an Avro object container: one source, one schema",
            media_type="application/avro",
            extension="avro",
            one_run=True,
            write=_avro,
        ),
        Format(
            name="arrow",
            description="an Arrow IPC stream: one source, one schema",
            media_type="application/vnd.apache.arrow.stream",
            extension="arrows",
            one_run=True,
            write=_arrow,
        ),
    )
}
