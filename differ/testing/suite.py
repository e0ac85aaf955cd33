"""The conformance suite as a class for pytest: one subclass, and every check is a test of its own.

    class TestOrders(IteratorConformance):
        iterator = orders                  # what @iterator marked
        options = {"url": "sqlite:///shop.db"}

The source is scanned once for the whole class. Options that depend on a fixture are given by overriding `make_options`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from differ.errors import UsageError
from differ.iterators.contract import IteratorSpec
from differ.testing.conformance import check_iterator
from differ.testing.report import Report


class IteratorConformance:
    """Subclass it under a name that pytest collects, and set `iterator` and `options`."""

    iterator: ClassVar[Any] = None
    options: ClassVar[Mapping[str, Any]] = {}
    key: ClassVar[Sequence[str] | str] = ()
    project: ClassVar[Path | str] = "."
    _report: ClassVar[Report | None] = None

    def make_options(self) -> Mapping[str, Any]:
        """The source's options; by default the class's `options`."""
        return self.options

    def report(self) -> Report:
        """The report of the class's source, made when the first test asks for it."""
        cls = type(self)
        if "_report" not in vars(cls) or cls._report is None:
            spec = vars(cls.iterator).get("__differ_iterator__") if hasattr(cls.iterator, "__dict__") else None
            if isinstance(cls.iterator, IteratorSpec):
                spec = cls.iterator
            if not isinstance(spec, IteratorSpec):
                raise UsageError(f"{cls.__name__}: iterator is not set", hint="set it to what @iterator marked")
            cls._report = check_iterator(spec, self.make_options(), project=Path(cls.project), key=cls.key)
        return cls._report

    def _hold(self, name: str) -> None:
        check = self.report()[name]
        assert check.outcome != "fail", str(check)

    def test_reads(self) -> None:
        """A whole scan ends without an error."""
        self._hold("reads")

    def test_batches(self) -> None:
        """No batch is larger than allowed."""
        self._hold("batches")

    def test_keys(self) -> None:
        """Keys are there, unique and never null."""
        self._hold("keys")

    def test_types(self) -> None:
        """Every column can be kept."""
        self._hold("types")

    def test_schema(self) -> None:
        """Columns and types are the same in every batch and scan."""
        self._hold("schema")

    def test_stable(self) -> None:
        """Two scans give the same rows."""
        self._hold("stable")

    def test_splits(self) -> None:
        """Splits neither overlap nor depend on each other."""
        self._hold("splits")

    def test_lookup(self) -> None:
        """What was read is found by its key."""
        self._hold("lookup")

    def test_position(self) -> None:
        """The server's position never goes back."""
        self._hold("position")

    def test_cancellation(self) -> None:
        """A cancelled scan ends."""
        self._hold("cancellation")

    def test_close(self) -> None:
        """Closing raises nothing."""
        self._hold("close")
