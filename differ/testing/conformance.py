"""The conformance suite of iterators: scan a source several times and hold what came against the contract.

What must hold, one check each:

    reads         the source opens and a whole scan ends without an error
    batches       no batch is larger than the context allows
    keys          every key column is there, never null, never twice
    types         every column can be written and read back unchanged
    schema        where types are declared, every batch keeps them; a second scan finds the same columns
    stable        a second scan gives the same rows, if nothing wrote to the source in between
    splits        splits do not overlap, and read in another order they give the same rows
    lookup        where it is offered, it finds what the scan found
    position      where there is one, it never goes back
    cancellation  a cancelled scan ends as interrupted
    close         closing raises nothing, after a whole scan and after one that broke off

Source: restic's backend suite and the tests of Meltano's SDK.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from differ.errors import InterruptedScanError, NullKeyError, SchemaDriftError
from differ.iterators.contract import Context, IteratorSpec
from differ.testing.reading import Reading, read_source
from differ.testing.report import Check, Report


def check_iterator(
    spec: IteratorSpec,
    options: Mapping[str, Any],
    *,
    project: Path,
    source: str = "conformance",
    key: Sequence[str] | str = (),
) -> Report:
    """Run every check on one source; it should be small, real, and not written to meanwhile.

    key: as configured, else the iterator's own. Never raises for what the plugin does. Cost: three scans.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)

    def make_context() -> Context:
        return Context(source=source, options=options, project=str(project), key=keys)

    first = read_source(spec, make_context())
    second = read_source(spec, make_context(), backwards=True) if first.error is None else None
    broken_off = make_context()
    broken_off.cancelled = threading.Event()
    broken_off.cancelled.set()
    third = read_source(spec, broken_off) if first.error is None else None
    found = _Findings(make_context(), first, second, third)
    return Report(iterator=spec.name, checks=tuple(check() for check in found.all()))


class _Findings:
    """The checks, each from what the three scans showed."""

    def __init__(self, ctx: Context, first: Reading, second: Reading | None, third: Reading | None) -> None:
        self._ctx, self._first, self._second, self._third = ctx, first, second, third

    def all(self) -> list[Callable[[], Check]]:
        """The checks in the order of the report."""
        return [
            self.reads, self.batches, self.keys, self.types, self.schema, self.stable, self.splits, self.lookup,
            self.position, self.cancellation, self.close,
        ]  # fmt: skip

    def reads(self) -> Check:
        error = self._first.error
        if error is not None:
            return _fail("reads", error.message, error.hint or "mend what the message names")
        return _pass("reads", f"{self._first.count} rows")

    def batches(self) -> Check:
        largest, allowed = max(self._first.batch_rows, default=0), self._ctx.batch_rows
        if largest > allowed:
            return _fail(
                "batches",
                f"a batch has {largest} rows, {allowed} are allowed",
                "yield smaller batches: at most ctx.batch_rows rows, fetched page by page",
            )
        if not largest:
            return _skip("batches", self._nothing())
        return _pass("batches", f"{len(self._first.batch_rows)} batches, the largest of {largest} rows")

    def keys(self) -> Check:
        first = self._first
        if isinstance(first.error, NullKeyError):
            return _fail("keys", first.error.message, "leave such rows out, or choose a key that every row has")
        if first.doubled:
            return _fail(
                "keys",
                f"{len(first.doubled)} rows repeat a key, the first is {first.doubled[0]}",
                "choose a key that is unique, or let the query or plugin give each key once",
            )
        if first.error is not None or not first.count:
            return _skip("keys", self._nothing())
        return _pass("keys", f"{first.count} keys, each once")

    def types(self) -> Check:
        batch = self._first.first
        if batch is None or self._first.schema is None:
            return _skip("types", self._nothing())
        unknown = [column.name for column in self._first.schema.columns if column.type.kind == "null"]
        sink = pa.BufferOutputStream()
        try:
            pq.write_table(pa.Table.from_batches([batch]), sink)
            again = pq.read_table(pa.BufferReader(sink.getvalue()))
        except pa.ArrowException as error:
            return _fail("types", f"a batch cannot be written: {error}", "declare other types: @iterator(types={...})")
        if not again.equals(pa.Table.from_batches([batch])):
            return _fail(
                "types", "a batch is another one when read back", "declare other types: @iterator(types={...})"
            )
        seen = f"{len(self._first.schema.columns)} columns"
        return _pass("types", f"{seen}; only nulls in {', '.join(unknown)}" if unknown else seen)

    def schema(self) -> Check:
        first, second = self._first, self._second
        if isinstance(first.error, SchemaDriftError):
            return _fail(
                "schema", first.error.message, first.error.hint or "give every batch the same columns and types"
            )
        if first.error is not None or second is None or first.schema is None or second.schema is None:
            return _skip("schema", self._nothing())
        if first.schema != second.schema:
            return _fail(
                "schema",
                "the second scan has other columns or types than the first",
                "declare the types: a method schema(), or @iterator(types={...})",
            )
        return _pass("schema", "declared, and every batch kept it" if first.declared else "not declared, and steady")

    def stable(self) -> Check:
        first, second = self._first, self._second
        if first.error is not None or second is None:
            return _skip("stable", self._nothing())
        if second.error is not None:
            return _fail("stable", f"the second scan failed: {second.error.message}", "keep no state between scans")
        gone, come = len(first.rows.keys() - second.rows.keys()), len(second.rows.keys() - first.rows.keys())
        other = sum(1 for key, row in first.rows.items() if second.rows.get(key, row) != row)
        if gone or come or other or first.count != second.count:
            return _fail(
                "stable",
                f"the second scan gave other rows: {gone} less, {come} more, {other} changed",
                "leave out what differs on every read (now(), random(), the order of lists), or run the suite while"
                " nothing writes to the source",
            )
        return _pass("stable", "two scans gave the same rows")

    def splits(self) -> Check:
        first, second = self._first, self._second
        if first.error is not None or first.splits < 2:
            return _skip("splits", "there is one" if first.error is None else self._nothing())
        if first.doubled:
            return _fail("splits", f"they overlap: {first.doubled[0]} came twice", "let every row be in one split only")
        if second is None or second.error is not None or second.rows.keys() != first.rows.keys():
            return _fail(
                "splits",
                "read in reverse order they give other rows",
                "let read(split) depend on the split alone, not on what was read before",
            )
        return _pass("splits", f"{first.splits} splits, in any order the same rows")

    def lookup(self) -> Check:
        first = self._first
        if first.error is not None or first.found is None:
            return _skip("lookup", "it is not offered" if first.error is None and first.count else self._nothing())
        missing = {key for key, _ in first.asked} - {key for key, _ in first.found}
        if missing:
            return _fail(
                "lookup",
                f"{len(missing)} of {len(first.asked)} keys that the scan gave are not found",
                "let lookup(keys) read the same rows as read(split), by the key that was configured",
            )
        if set(first.found) - set(first.asked):
            return _fail(
                "lookup",
                "it gives other rows than the scan, or rows that nobody asked for",
                "let lookup(keys) give the columns and values that read(split) gives, for these keys only",
            )
        return _pass("lookup", f"found {len(first.asked)} of {len(first.asked)} keys")

    def position(self) -> Check:
        first, second = self._first, self._second
        if first.position is None or second is None or second.position is None:
            return _skip("position", "it is not offered" if first.error is None else self._nothing())
        if second.position.is_before(first.position):
            return _fail(
                "position",
                f"it went back from {first.position.text} to {second.position.text}",
                "give numbers that only grow, each under the name of its own timeline",
            )
        return _pass("position", second.position.text)

    def cancellation(self) -> Check:
        third = self._third
        if third is None or not self._first.count:
            return _skip("cancellation", self._nothing())
        if isinstance(third.error, InterruptedScanError):
            return _pass("cancellation", "the scan ended as interrupted")
        seen = f"it ended with: {third.error.message}" if third.error else "it went on to its end"
        return _fail(
            "cancellation", seen, "let InterruptedScanError pass: catch no bare Exception around ctx.check_cancelled()"
        )

    def close(self) -> Check:
        for reading, when in ((self._first, "a scan"), (self._third, "a scan that broke off")):
            if reading is not None and reading.closed is not None:
                return _fail(
                    "close", f"after {when}: {reading.closed.message}", "let close() raise nothing, whatever was read"
                )
        return _pass("close", "nothing was raised")

    def _nothing(self) -> str:
        return "the source has no rows" if self._first.error is None else "the scan failed"


def _pass(name: str, detail: str) -> Check:
    return Check(name=name, outcome="pass", detail=detail)


def _skip(name: str, detail: str) -> Check:
    return Check(name=name, outcome="skip", detail=detail)


def _fail(name: str, detail: str, mend: str) -> Check:
    return Check(name=name, outcome="fail", detail=detail, mend=mend)
