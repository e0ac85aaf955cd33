"""`GET /v1/stream`: events after an SCN or cursor, waiting for some where there are none yet.

    ask -> plan (pool) -> nothing yet? sleep until the head moves, plan again -> headers -> body, chunk by chunk

Invariant: the headers say how far the answer looks before its body begins, so a body that arrived whole is all there is
up to `Differ-Scanned-Through`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from differ.errors import UsageError
from differ.formats.batch import EventBatch
from differ.formats.cursor import SCN_MAX, Cursor
from differ.formats.partitions import Partitions
from differ.model import OPS
from differ.relay.answer import Answer, Part, Selection, plan
from differ.relay.parts import SegmentReader
from differ.server.access import grant_of, needs, streams
from differ.server.body import Body, gather, watch
from differ.server.encoders import ENCODERS, MEDIA_TYPES, ONE_RUN, Encoder
from differ.server.naming import known_sources, listed
from differ.server.services import Services

WAIT_SECONDS_MAX = 60.0
LIMIT_MAX = 100_000_000
_LISTS = ("source", "ops")
HEADERS = {
    "Differ-Stream": "The stream's id.",
    "Differ-Head": "The last SCN there is.",
    "Differ-Scanned-Through": "Up to here everything was looked through.",
    "Differ-Cursor": "Where to go on.",
    "Differ-More": "`true` when there is more to ask for at once.",
}
"""What an answer says before its body."""
Form = Literal["ndjson", "arrow", "avro", "frames"]


class StreamQuery(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(extra="forbid")

    source: list[str] = Field([], description="Only these sources: repeated, or with commas. None: all.")
    since: int | None = Field(None, ge=0, le=SCN_MAX, description="Only events after this SCN. Default: 0.")
    cursor: str | None = Field(
        None, max_length=200, description="Instead of `since`: what `Differ-Cursor` gave, to go on from there."
    )
    limit: int | None = Field(
        None,
        ge=0,
        le=LIMIT_MAX,
        description="Look through at most so many events of these sources; 0: only the headers.",
    )
    wait: float = Field(
        0.0, ge=0, le=WAIT_SECONDS_MAX, description="Where there is no event yet, wait for one at most so many seconds."
    )
    format: Form = Field("ndjson", description="The form of the body.")
    ops: list[str] = Field([], description="Only events with these ops: insert, update, delete. None: all.")
    partition: str | None = Field(
        None, max_length=2000, description="Only events of these partitions of the key space: `0/4`, `0,4-7/256`."
    )
    control: bool = Field(False, description="ndjson only: lines that say where windows end, and how far was looked.")


def router(services: Services) -> APIRouter:
    """The calls of this file."""
    routes = APIRouter(tags=["stream"], dependencies=[Depends(needs("read", by_source=True))])

    @routes.get(
        "/v1/stream",
        summary="Events after an SCN",
        dependencies=[Depends(streams)],
        response_class=Response,
        responses={200: described_body("Events by SCN.", HEADERS)},
    )
    async def stream(request: Request, query: Annotated[StreamQuery, Query()]) -> Response:
        services.check_hosted("relay")
        _check_call(request)
        start, selection = _start(query), _selection(query)
        selection = replace(selection, sources=grant_of(request).chosen(selection.sources))
        gone = watch(request.receive)
        try:
            answer = await _answer(services, query, start, selection, gone)
            chunks = gather(pieces(services.parts, answer, selection, ENCODERS[query.format](), control=query.control))
            return Body(
                services,
                chunks,
                gone=gone,
                form=query.format,
                media_type=MEDIA_TYPES[query.format],
                headers=answer_headers(answer),
            )
        except BaseException:
            gone.cancel()
            raise

    return routes


async def _answer(
    services: Services, query: StreamQuery, start: Cursor | int, selection: Selection, gone: asyncio.Future[None]
) -> Answer:
    """The answer, once there is an event to look at or the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + query.wait

    def look() -> Answer:
        known_sources(services.project, selection.sources)
        one_run = query.format in ONE_RUN
        return plan(services.project.catalog, start, selection, limit=query.limit, one_run=one_run)

    while True:
        answer = await services.read(look)
        left = deadline - loop.time()
        if answer.parts or answer.has_more or left <= 0 or not await services.arrivals.beyond(answer.head, left, gone):
            return answer


def pieces(
    reader: SegmentReader, answer: Answer, selection: Selection, encoder: Encoder, *, control: bool = False
) -> Iterator[bytes]:
    """The bytes of an answer, in pieces of any size. For frames, whole segments that no filter touches pass as they lie
    on disk. Suspended, it holds no event."""
    for part in answer.parts:
        cursor = answer.cursor_of(part)
        if encoder.takes_segments and part.is_whole and _passes_whole(reader, part, selection):
            yield from reader.raw(part, answer.stream, cursor)
        else:
            slices = reader.slices(part, answer.stream, selection, slice_bytes=encoder.slice_bytes)
            # Not a generator expression: its loop variable would hold the slice while the client is slow.
            yield from map(partial(_encode, encoder, cursor), slices)
        if control and part.ends_window:
            window = {"first": part.window.first, "last": part.window.last}
            yield encoder.control({"control": "window_end", "window": window, "cursor": cursor.text})
    if control:
        yield encoder.control(
            {
                "control": "progress",
                "scanned_through": answer.cursor.scn,
                "head": answer.head,
                "cursor": answer.cursor.text,
                "more": answer.has_more,
            }
        )
    yield encoder.end()


def _encode(encoder: Encoder, cursor: Cursor, batch: EventBatch) -> bytes:
    return encoder.encode(batch, cursor)


def described_body(description: str, headers: Iterable[str]) -> dict[str, Any]:
    """A body of events for /openapi.json: its forms, and which of HEADERS come before it."""
    number = ("Differ-Head", "Differ-Scanned-Through")
    return {
        "description": description,
        "content": {kind: {} for kind in MEDIA_TYPES.values()},
        "headers": {
            name: {
                "description": HEADERS[name],
                "required": True,
                "schema": {"type": "integer" if name in number else "string"},
            }
            for name in headers
        },
    }


def answer_headers(answer: Answer) -> dict[str, str]:
    """What every answer says before its body."""
    return {
        "Differ-Stream": answer.stream,
        "Differ-Head": str(answer.head),
        "Differ-Scanned-Through": str(answer.cursor.scn),
        "Differ-Cursor": answer.cursor.text,
        "Differ-More": "true" if answer.has_more else "false",
    }


def _passes_whole(reader: SegmentReader, part: Part, selection: Selection) -> bool:
    return (selection.partitions is None or selection.partitions.is_all) and reader.passes(part, selection)


def _check_call(request: Request) -> None:
    """What the query's model cannot see."""
    if request.scope["http_version"] == "1.0":
        raise UsageError(
            "stream: HTTP/1.0 cannot tell a body that ended from one that broke off",
            hint="speak HTTP/1.1; for nginx: proxy_http_version 1.1",
        )
    for name in request.query_params:
        if name not in _LISTS and len(request.query_params.getlist(name)) > 1:
            raise UsageError(f"stream: {name} comes more than once", hint="give it once")


def _start(query: StreamQuery) -> Cursor | int:
    if query.cursor is not None and query.since is not None:
        raise UsageError("stream: since and cursor contradict each other", hint="give one of them")
    if query.cursor is not None:
        return Cursor.parse(query.cursor)
    return query.since or 0


def _selection(query: StreamQuery) -> Selection:
    if query.control and query.format != "ndjson":
        raise UsageError(f"stream: {query.format} has no control lines", hint="ask for format=ndjson")
    ops = listed(query.ops)
    for op in ops:
        if op not in OPS:
            raise UsageError(f"stream: there is no op {op!r}", hint=f"one of: {', '.join(OPS)}")
    partitions = None if query.partition is None else Partitions.parse(query.partition)
    return Selection(sources=listed(query.source), ops=frozenset(op for op in OPS if op in ops), partitions=partitions)
