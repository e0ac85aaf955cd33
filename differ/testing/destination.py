"""What both suites of sinks share: fresh options, instances of the sink, and how the destination shows a document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from differ.sinks.contract import Document, Sink, SinkContext
from differ.sinks.registry import parse_options
from differ.testing.feed import Feed

S = TypeVar("S", bound=Sink)


class DestinationConformance(Generic[S]):
    """Base of `StateSinkConformance` and `EventSinkConformance`."""

    sink: ClassVar[type[Sink]]
    refuses_late_writers: ClassVar[bool] = True
    """Whether the destination can tell that another instance has taken it over."""
    nested: ClassVar[bool] = True
    """Whether nested values are kept; where not, a refusal or a stated other form is tested elsewhere."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterable[None]:
        self.request = request
        self._folder = tmp_path
        self._options = self.make_options(tmp_path)
        self._open: list[Sink] = []
        self.feed = Feed()
        yield
        for sink in self._open:
            sink.close()

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        """Options of a destination that is new and empty. Called once for each test; `self.request` gives fixtures."""
        raise NotImplementedError

    def shown(self, document: Document) -> Any:
        """How the destination gives a document back; by default as it is."""
        return document

    def opened(self, name: str = "conformance", sources: tuple[str, ...] = ("orders",)) -> Any:
        """An open sink on the test's destination; a second one is what another process would have."""
        context = SinkContext(
            name=name, sources=sources, project=self._folder, state=self._folder / ".differ" / "sinks" / name
        )
        sink = self.sink(context, parse_options(self.sink, self._options, context))
        self._open.append(sink)
        sink.open()
        return sink
