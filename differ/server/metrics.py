"""`GET /metrics`: measures in the text form of Prometheus, or in that of OpenMetrics where a scraper prefers it.

What the HTTP server itself counts is kept here, for as long as its process lives, also while the server is stopped and
started again; the rest is read from where it is kept (see measured.py).

Invariant: a scrape that cannot read the catalog is an error, never a page with gaps.
"""

from __future__ import annotations

import bisect
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from differ.project import Project
from differ.server.access import needs
from differ.server.measured import Sample, families, of_dead_letters, of_disk, of_modules, of_project
from differ.server.services import Services

BOUNDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0, 60.0, math.inf)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
DISK_SECONDS = 60.0
"""The snapshots' folder is not walked more often than this."""


class Metrics:
    """The measures of one process. Any thread."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._within: dict[str, Counter[float]] = {}
        self._seconds: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._disk: tuple[float, list[Sample]] | None = None

    def answered(self, call: str, status: int, seconds: float) -> None:
        """A call of this route (`GET /v1/stream`) ended."""
        if call.partition(" ")[0] not in METHODS or call.endswith(" other"):
            call = "other"  # whatever strangers try is one
        with self._turn:
            self._calls[call, str(status)] += 1
            self._within.setdefault(call, Counter())[BOUNDS[bisect.bisect_left(BOUNDS, seconds)]] += 1
            self._seconds[call] += seconds  # type: ignore[assignment]

    def sent(self, form: str, byte_count: int) -> None:
        """So many bytes of a body of events went to a client."""
        with self._turn:
            self._sent[form] += byte_count

    def of_calls(self) -> Iterator[Sample]:
        """What the HTTP server counted since the process began."""
        with self._turn:
            calls, sent, seconds = dict(self._calls), dict(self._sent), dict(self._seconds)
            within = {call: dict(counts) for call, counts in self._within.items()}
        for (call, status), count in sorted(calls.items()):
            yield "differ_http_requests_total", (call, status), count
            if call == "GET /v1/stream":
                yield "differ_stream_requests_total", (status,), count
        for call, counts in sorted(within.items()):
            to_here = {bound: sum(n for at, n in counts.items() if at <= bound) for bound in BOUNDS}
            yield "differ_http_request_duration_seconds", (call,), (to_here, seconds[call])
        for form, count in sorted(sent.items()):
            yield "differ_sent_bytes_total", (form,), count

    def of_disk(self, project: Project) -> list[Sample]:
        """See `measured.of_disk`; at most a minute old."""
        kept, now = self._disk, time.monotonic()
        if kept is None or now - kept[0] > DISK_SECONDS:
            storage = project.settings.storage
            kept = self._disk = (now, list(of_disk(storage.snapshots, storage.state)))
        return kept[1]


class ProjectCollector(Collector):
    """All measures of a project, as seen from one process, for whatever takes them from Prometheus' client.

    modules: the entries of all modules. waiting: how many calls wait now, None where no server runs here.
    """

    def __init__(
        self, project: Project, metrics: Metrics, modules: Sequence[Mapping[str, Any]], waiting: int | None
    ) -> None:
        self._project, self._metrics, self._modules, self._waiting = project, metrics, modules, waiting

    def collect(self) -> Iterator[Metric]:
        """Read everything now. Raises what reading the catalog raises."""
        return families(self._samples())

    def _samples(self) -> Iterator[Sample]:
        yield from of_project(self._project, datetime.now(UTC))
        yield from self._metrics.of_disk(self._project)
        yield from of_modules(self._modules)
        yield from of_dead_letters(self._project.settings.storage.state / "dead-letters")
        yield from self._metrics.of_calls()
        if self._waiting is not None:
            yield "differ_waiting_clients", (), self._waiting


def router(services: Services) -> APIRouter:
    """The calls of this file."""
    routes = APIRouter(tags=["operate"], dependencies=[Depends(needs("read"))])
    measures = services.measures
    metrics = measures if isinstance(measures, Metrics) else Metrics()

    @routes.get("/metrics", summary="Measures for Prometheus", response_class=Response)
    def scrape(request: Request) -> Response:
        modules = services.modules.describe() if services.modules is not None else []
        collector = ProjectCollector(services.project, metrics, modules, services.arrivals.waiting)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(collector), media_type=media_type)

    return routes
