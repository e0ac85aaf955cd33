"""The conformance suite finds each way to break the contract, and nothing wrong with what conforms."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from differ.errors import InterruptedScanError
from differ.iterators import Context, iterator
from differ.iterators.files import files
from differ.model import Position
from differ.records.types import INT, STRING, Column, Schema
from differ.testing import IteratorConformance, Report, check_iterator

ROWS = [{"id": number, "text": str(number)} for number in range(20)]


@iterator(key="id")
def orders(ctx: Context) -> Iterator[Any]:
    """A plain plugin."""
    yield ROWS[:10]
    ctx.check_cancelled()
    yield ROWS[10:]


@iterator(key="id")
class Parts:
    """A plugin with everything that the contract offers."""

    _times = itertools.count(1)

    def __init__(self, ctx: Context) -> None:
        self.open = True

    def schema(self) -> Schema:
        return Schema(columns=(Column(name="id", type=INT), Column(name="text", type=STRING)))

    def splits(self) -> list[int]:
        return [0, 10]

    def read(self, split: int) -> Iterator[Any]:
        yield ROWS[split : split + 10]

    def lookup(self, keys: list[dict[str, int]]) -> list[Any]:
        return [[ROWS[key["id"]] for key in keys]]

    def position(self) -> Position:
        number = next(self._times)
        return Position(kind="test", parts={"": number}, text=str(number))

    def close(self) -> None:
        if not self.open:
            raise RuntimeError("closed twice")
        self.open = False


def run(target: Any, **options: Any) -> Report:
    return check_iterator(target.__differ_iterator__, options, project=Path())


def outcomes(report: Report) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


def test_what_conforms_passes() -> None:
    assert set(outcomes(run(Parts)).values()) == {"pass"}
    plain = run(orders)
    assert plain.passed
    assert {name for name, outcome in outcomes(plain).items() if outcome == "skip"} == {"splits", "lookup", "position"}
    assert str(plain).endswith("orders: conforms")


def test_an_empty_source_passes() -> None:
    @iterator(key="id", types={"id": "int"})
    def empty(ctx: Context) -> Iterator[Any]:
        yield []

    assert run(empty).passed


def failing(name: str, target: Any) -> None:
    """The suite fails at this check, says how to mend it, and still reports every other one."""
    report = run(target)
    assert name in [check.name for check in report.failures], str(report)
    assert report[name].mend
    assert not report.passed
    assert len(report.checks) == 11
    assert f"fail  {name}" in str(report)
    assert {check["name"]: check["outcome"] for check in report.to_json()["checks"]} == outcomes(report)


def marked(function: Any, **more: Any) -> Any:
    return iterator(**({"key": "id"} | more))(function)


def test_a_plugin_that_raises() -> None:
    def broken(ctx: Context) -> Iterator[Any]:
        yield ROWS
        raise ValueError("no more")

    failing("reads", marked(broken))


def test_batches_without_bound() -> None:
    failing("batches", marked(lambda ctx: [[{"id": number} for number in range(65_537)]], name="x"))


@pytest.mark.parametrize("rows", [[{"id": 1}, {"id": 1}], [{"id": None}]])
def test_keys_that_are_none(rows: list[Any]) -> None:
    failing("keys", marked(lambda ctx: [rows], name="x"))


def test_a_schema_that_changes_between_batches() -> None:
    failing("schema", marked(lambda ctx: [[{"id": 1}], [{"id": 2, "b": 1}]], name="x"))


def test_a_schema_that_changes_between_scans() -> None:
    scans = itertools.count()
    failing("schema", marked(lambda ctx: [[{"id": 1, f"c{next(scans)}": 1}]], name="x"))


def test_a_declared_schema_that_is_not_kept() -> None:
    class Other(Parts):
        def read(self, split: int) -> Iterator[Any]:
            yield [{"id": 1}]

    failing("schema", marked(Other))


@pytest.mark.parametrize("column", ["id", "v"])
def test_rows_that_change_on_each_read(column: str) -> None:
    numbers = itertools.count()
    failing("stable", marked(lambda ctx: [[{"id": 0, "v": 0} | {column: next(numbers)}]], name="x"))


def test_splits_that_overlap() -> None:
    class Overlapping(Parts):
        def splits(self) -> list[int]:
            return [0, 5]

    failing("splits", marked(Overlapping))


def test_splits_that_depend_on_their_order() -> None:
    class Ordered(Parts):
        def __init__(self, ctx: Context) -> None:
            super().__init__(ctx)
            self.next = 0

        def read(self, split: int) -> Iterator[Any]:
            yield ROWS[max(split, self.next) : split + 10]
            self.next = split + 10

    failing("splits", marked(Ordered))


@pytest.mark.parametrize("rows", [[], ROWS, [{"id": number, "text": "other"} for number in range(20)]])
def test_a_lookup_that_does_not_agree(rows: list[Any]) -> None:
    class Other(Parts):
        def lookup(self, keys: list[dict[str, int]]) -> list[Any]:
            return [rows]

        def splits(self) -> list[int]:
            return [0]

    failing("lookup", marked(Other))


def test_a_position_that_goes_back() -> None:
    times = itertools.count(0, -1)

    class Back(Parts):
        def position(self) -> Position:
            return Position(kind="test", parts={"": next(times)}, text="x")

    failing("position", marked(Back))


def test_a_cancellation_that_is_swallowed() -> None:
    def deaf(ctx: Context) -> Iterator[Any]:
        try:
            ctx.check_cancelled()
            yield ROWS
        except InterruptedScanError:
            return

    failing("cancellation", marked(deaf))


def test_a_close_that_raises() -> None:
    class Stuck(Parts):
        def close(self) -> None:
            raise RuntimeError("stuck")

    failing("close", marked(Stuck))


def test_built_in_files_conform(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(f"id,total\n{number},1.50\n")
    report = check_iterator(files.__differ_iterator__, {"path": "*.csv"}, project=tmp_path, key="id")
    assert report.passed, str(report)
    assert report["splits"].outcome == "pass"


class TestOrders(IteratorConformance):
    """As a plugin author writes it."""

    iterator = orders


class TestParts(IteratorConformance):
    """With a source that offers everything."""

    iterator: ClassVar[Any] = Parts
    options: ClassVar[dict[str, Any]] = {"any": 1}


def test_the_class_fails_where_the_report_does() -> None:
    class Broken(IteratorConformance):
        iterator = marked(lambda ctx: [[{"id": 1}, {"id": 1}]], name="x")

    suite = Broken()
    suite.test_reads()
    with pytest.raises(AssertionError, match=r"keys: 1 rows repeat a key, the first is id=1"):
        suite.test_keys()
