"""Checkpoints that consumers keep on the relay, which also holds retention back for them.

    GET    /v1/consumers          all, with how far each is behind
    GET    /v1/consumers/{name}   one
    PUT    /v1/consumers/{name}   register it, or move its checkpoint; durable when answered
    DELETE /v1/consumers/{name}   forget it

A group's member sends another form of PUT (`member`, `tokens`, `checkpoints`), which groups.py admits or refuses.
Invariant: a checkpoint of another stream, or past the head, is refused: it would hold retention for nobody, or let go
what its consumer still needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from differ.catalog.consumer_entries import ConsumerEntry
from differ.catalog.consumer_tables import NAME_LENGTH
from differ.errors import ScnAheadError, StreamChangedError
from differ.formats.checkpoint import Checkpoint, checkpoint_from_json
from differ.relay.following import described
from differ.server.access import grant_of, needs
from differ.server.groups import GroupCheckpoint, check_given, save_group_checkpoint
from differ.server.naming import known_sources
from differ.server.problems import NotFoundError
from differ.server.services import Services

Name = Annotated[str, Path(min_length=1, max_length=NAME_LENGTH, description="The consumer's name.")]


class ConsumerPut(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: dict[str, Any] | None = Field(None, description='Such as {"kind": "stream", "cursor": "..."}.')
    sources: list[str] | None = Field(None, max_length=10_000, description="What it follows; empty: all.")
    client: str | None = Field(None, max_length=NAME_LENGTH, description="What operators are shown.")


def _form(body: Any) -> str:
    is_member = "member" in body if isinstance(body, Mapping) else isinstance(body, GroupCheckpoint)
    return "group" if is_member else "consumer"


Put = Annotated[
    Annotated[ConsumerPut, Tag("consumer")] | Annotated[GroupCheckpoint, Tag("group")], Discriminator(_form)
]


def router(services: Services) -> APIRouter:
    """The calls of this file."""
    routes = APIRouter(
        prefix="/v1/consumers", tags=["consumers"], dependencies=[Depends(needs("consume", by_source=True))]
    )

    @routes.get("", summary="All consumers and consumer groups")
    def consumers(request: Request) -> dict[str, Any]:
        services.check_hosted("relay")
        grant = grant_of(request)
        given = [entry for entry in services.project.consumers.all() if grant.gives(entry.sources)]
        return {"consumers": services.project.following(given)}

    @routes.get("/{name:path}", summary="One consumer or consumer group")
    def consumer(request: Request, name: Name) -> dict[str, Any]:
        services.check_hosted("relay")
        check_given(services, grant_of(request), name)
        return services.project.following([_found(services, name)])[0]

    @routes.put("/{name:path}", summary="Register a consumer, or move its checkpoint")
    async def put(request: Request, name: Name, body: Put) -> dict[str, Any]:
        services.check_hosted("relay")
        named = None if isinstance(body, GroupCheckpoint) else body.sources
        await services.read(check_given, services, grant_of(request), name, named, makes=True)
        if isinstance(body, GroupCheckpoint):
            await services.read(_check_checkpoints, services, map(checkpoint_from_json, body.checkpoints.values()))
            await asyncio.to_thread(save_group_checkpoint, services, name, body)
            return {"name": name}
        checkpoint = None if body.checkpoint is None else checkpoint_from_json(body.checkpoint)
        await services.read(known_sources, services.project, body.sources or ())
        await services.read(_check_checkpoints, services, [checkpoint] if checkpoint else [])
        # No thread waits for the disk: the one that writes for all wakes this call.
        put = services.project.consumers.put_soon(name, checkpoint=checkpoint, sources=body.sources, client=body.client)
        return described(await asyncio.wrap_future(put))

    @routes.delete("/{name:path}", summary="Forget a consumer or consumer group", status_code=204)
    def remove(request: Request, name: Name) -> Response:
        services.check_hosted("relay")
        check_given(services, grant_of(request), name)
        if not services.project.consumers.remove(name):
            raise _unknown(name)
        return Response(status_code=204)

    return routes


def _check_checkpoints(services: Services, checkpoints: Iterable[Checkpoint]) -> None:
    stream = None
    for cursor in {checkpoint.cursor for checkpoint in checkpoints}:
        stream = stream or services.project.catalog.stream()
        if cursor.stream != stream.stream_id:
            raise StreamChangedError(
                f"store checkpoint: it is of stream {cursor.stream}, this is {stream.stream_id}", hint="bootstrap"
            )
        if cursor.scn > stream.head_scn:
            raise ScnAheadError(
                f"store checkpoint at SCN {cursor.scn}: the head is {stream.head_scn}",
                hint="the store may have been restored from a backup: bootstrap",
                head=stream.head_scn,
            )


def _found(services: Services, name: str) -> ConsumerEntry:
    entry = services.project.consumers.get(name)
    if entry is None:
        raise _unknown(name)
    return entry


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no consumer {name!r}", hint="see /v1/consumers")
