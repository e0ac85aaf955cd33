"""Bootstrap over HTTP: pin the states of sources at one SCN, hand out their rows in pages, let go.

    POST   /v1/bootstrap                {"sources": [], "consumer": "index", "partition": null} -> 201, what is pinned
    GET    /v1/bootstrap/{id}           the same again, for who resumes
    GET    /v1/bootstrap/{id}/{source}  rows as events; ?cursor= goes on where an answer stopped
    POST   /v1/bootstrap/{id}/renew     the lease begins anew, as with every other call
    DELETE /v1/bootstrap/{id}           lets go

Every row is an insert with the pinned SCN; the stream goes on from `cursor`. Invariants: what was pinned is there until
the pin is let go or its lease ends, and then the answer is BOOTSTRAP_GONE, never other rows; headers say where the body
ends before it begins, so a body that arrived whole is all there is up to `Differ-Cursor`.
Source: Databus' bootstrap server; docs/decisions/0016-pins-and-pages.md.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Annotated, ParamSpec, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from differ.catalog.consumers import check_consumer_name
from differ.catalog.pins import Pin, Pins
from differ.errors import BootstrapGoneError, BusyError, RelayUnavailableError, UsageError
from differ.formats.partitions import Partitions
from differ.server.access import Grant, grant_of, needs, streams
from differ.server.body import Body, gather, watch
from differ.server.encoders import ENCODERS, MEDIA_TYPES, Encoder
from differ.server.naming import known_sources
from differ.server.pinned import PinnedSnapshots, PinnedSource
from differ.server.services import Services
from differ.server.stream import HEADERS, LIMIT_MAX, Form, described_body
from differ.snapshots.pages import Page

P = ParamSpec("P")
T = TypeVar("T")
HEADERS_OF_ROWS = tuple(name for name in HEADERS if name != "Differ-Scanned-Through")
RENEWALS = 4
"""How often in a lease a long answer renews it."""
PinId = Annotated[str, Path(max_length=64, description="the bootstrap's id, as POST gave it")]


class Begin(BaseModel):
    """What is to be pinned."""

    model_config = ConfigDict(extra="forbid")

    sources: list[str] = Field(default=[], max_length=10_000, description="empty for all")
    consumer: str = Field(description="who bootstraps")
    partition: str | None = Field(default=None, max_length=2000, description="only keys of these: `0/4`, `0,4-7/256`")


class PinnedState(BaseModel):
    """One source at the pinned SCN. cycle, schema: null for a source that had no cycle yet; it has no rows."""

    source: str
    cycle: int | None
    rows: int = Field(description="of all partitions")
    schema_id: int | None = Field(serialization_alias="schema")


class Pinned(BaseModel):
    """What is pinned, until it is let go or `lease_seconds` after the last call."""

    id: str
    generation: str = Field(description="names this replacement of the consumer's state")
    stream: str
    scn: int
    cursor: str = Field(description="where the stream goes on after the rows")
    lease_seconds: float
    partition: str | None
    sources: list[PinnedState]


class LetGo(BaseModel):
    """Whether there was something to let go of."""

    removed: bool


class PageQuery(BaseModel):
    """Which rows of a source, and how."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, max_length=1000, description="go on after this page; none: from the beginning")
    limit: int | None = Field(None, ge=1, le=LIMIT_MAX, description="look through at most so many rows")
    format: Form = Field("ndjson", description="The form of the body.")
    partition: str | None = Field(
        None, max_length=2000, description="only these of the bootstrap's partitions; page cursors are the same"
    )


def router(services: Services) -> APIRouter:
    """The calls of this file; all need the right to consume."""
    checks = [Depends(needs("consume", by_source=True)), Depends(here(services))]
    routes = APIRouter(prefix="/v1/bootstrap", tags=["bootstrap"], dependencies=checks)
    bootstraps = Bootstraps(services)

    @routes.post("", status_code=201, summary="Pin the states of sources at one SCN")
    async def begin(request: Request, body: Begin) -> Pinned:
        body = body.model_copy(update={"sources": list(grant_of(request).chosen(body.sources))})
        return await services.read(bootstraps.begin, body)

    @routes.get("/{pin}", summary="What a bootstrap has pinned")
    async def show(request: Request, pin: PinId) -> Pinned:
        return await services.read(bootstraps.renew, pin, grant_of(request))

    @routes.post("/{pin}/renew", summary="Begin the lease anew")
    async def renew(request: Request, pin: PinId) -> Pinned:
        return await services.read(bootstraps.renew, pin, grant_of(request))

    @routes.delete("/{pin}", summary="Let go of what is pinned")
    async def let_go(request: Request, pin: PinId) -> LetGo:
        return await services.read(bootstraps.let_go, pin, grant_of(request))

    @routes.get(
        "/{pin}/{source}",
        summary="Rows of a pinned source, as events",
        dependencies=[Depends(streams)],
        response_class=Response,
        responses={200: described_body("Rows as inserts.", HEADERS_OF_ROWS)},
    )
    async def rows(request: Request, pin: PinId, source: str, query: Annotated[PageQuery, Query()]) -> Response:
        if request.scope["http_version"] == "1.0":
            raise UsageError("bootstrap: HTTP/1.0 cannot tell a body that ended from one that broke off")
        opened, start, head = await services.read(bootstraps.open, pin, source, query.cursor)
        end = await services.read(opened.after, start, query.limit)
        partitions = opened.partitions(query.partition)
        return Body(
            services,
            gather(bootstraps.pieces(opened, start, end, partitions, ENCODERS[query.format]())),
            gone=watch(request.receive),
            form=query.format,
            media_type=MEDIA_TYPES[query.format],
            headers={
                "Differ-Stream": opened.pin.cursor.stream,
                "Differ-Head": str(head),
                "Differ-Cursor": opened.cursor(end),
                "Differ-More": "true" if end < opened.end else "false",
            },
        )

    return routes


def here(services: Services) -> Callable[[Request], Awaitable[None]]:
    """A dependency of the routes: where this process does not bootstrap, say who does (307), if anybody was named."""

    async def check(request: Request) -> None:
        url = services.project.settings.bootstrap.url
        if url is not None and not services.hosted("bootstrap"):
            target = url + request.url.path + (f"?{request.url.query}" if request.url.query else "")
            raise HTTPException(307, f"bootstrap is at {url}", {"Location": target})
        services.check_hosted("bootstrap")

    return check


class Bootstraps:
    """What the calls do; each method reads disk and belongs into the pool."""

    def __init__(self, services: Services, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._services, self._clock = services, clock
        self._project = services.project
        self._pins = Pins(services.project.consumers)
        self._snapshots = PinnedSnapshots(services.project.place)

    def begin(self, body: Begin) -> Pinned:
        """Pin; raises NotFoundError for a source that nobody knows, UsageError for a senseless name or partition."""
        check_consumer_name(body.consumer)
        partitions = None if body.partition is None else Partitions.parse(body.partition)
        known_sources(self._project, body.sources)
        pin = unlocked(
            self._pins.create,
            self._project.catalog,
            list(dict.fromkeys(body.sources)) or self._all_sources(),
            consumer=body.consumer,
            partition=None if partitions is None or partitions.is_all else partitions.text,
            lease_seconds=self._project.settings.bootstrap.lease_seconds,
        )
        return self._pinned(pin)

    def renew(self, pin_id: str, grant: Grant) -> Pinned:
        """Begin the lease anew; raises BootstrapGoneError, AccessError."""
        grant.check(self._pins.get(pin_id).sources)
        return self._pinned(unlocked(self._pins.renew, pin_id))

    def let_go(self, pin_id: str, grant: Grant) -> LetGo:
        """Let go; a second time there is nothing to. Raises AccessError."""
        with suppress(BootstrapGoneError):
            grant.check(self._pins.get(pin_id).sources)
        return LetGo(removed=unlocked(self._pins.remove, pin_id))

    def open(self, pin_id: str, source: str, cursor: str | None) -> tuple[PinnedSource, int, int]:
        """A source of a pin whose lease begins anew, the location to begin at, and the stream's head."""
        opened = self._snapshots.open(unlocked(self._pins.renew, pin_id), source)
        return opened, opened.location(cursor), self._project.catalog.stream().head_scn

    def pieces(
        self, opened: PinnedSource, start: int, end: int, partitions: Partitions | None, encoder: Encoder
    ) -> Iterator[bytes]:
        """The bytes of an answer, whose lease is renewed while they are taken. Suspended, it holds no row."""
        due = self._clock() + opened.pin.lease_seconds / RENEWALS

        def encode(page: Page) -> bytes:
            nonlocal due
            if self._clock() >= due:
                unlocked(self._pins.renew, opened.pin.id)
                due = self._clock() + opened.pin.lease_seconds / RENEWALS
            return encoder.encode(page.batch, opened.pin.cursor, opened.cursor(page.end))

        yield from map(encode, opened.read(start, end, partitions, page_bytes=encoder.slice_bytes))
        yield encoder.end()

    def _all_sources(self) -> list[str]:
        """Those that are configured, and those that once were and have a state: their events are in the stream, too."""
        left = [entry.name for entry in self._project.catalog.sources() if entry.current is not None]
        return list(dict.fromkeys([*self._project.settings.sources, *left]))

    def _pinned(self, pin: Pin) -> Pinned:
        return Pinned(
            id=pin.id,
            generation=pin.generation,
            stream=pin.cursor.stream,
            scn=pin.scn,
            cursor=pin.cursor.text,
            lease_seconds=pin.lease_seconds,
            partition=pin.partition,
            sources=[self._state(pin, source, cycle) for source, cycle in pin.sources.items()],
        )

    def _state(self, pin: Pin, source: str, cycle: int | None) -> PinnedState:
        if cycle is None:
            return PinnedState(source=source, cycle=None, rows=0, schema_id=None)
        rows, schema_id = self._snapshots.describe(pin, source, cycle)
        return PinnedState(source=source, cycle=cycle, rows=rows, schema_id=schema_id)


def unlocked(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call that writes; that another process holds the database is over in a moment."""
    try:
        return call(*args, **kwargs)
    except BusyError as error:
        raise RelayUnavailableError(error.message, hint="ask again in a moment") from error
