"""The runtime's modules over HTTP: what runs in every `differ run` of the project on this machine, and acting on it.

    GET  /v1/modules
    POST /v1/modules/{name}/{action}      start, stop, restart, pause or resume; `sinks` means all of them

Invariant: whoever stops what answers him is answered first: then the entry says `pending`, with status 202.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Response
from starlette.concurrency import run_in_threadpool

from differ.errors import RelayUnavailableError
from differ.server.access import needs
from differ.server.services import ModuleControl, Services

Name = Annotated[
    str, Path(min_length=1, max_length=100, description="scheduler, relay, bootstrap, sinks.NAME, or sinks for all.")
]
Action = Literal["start", "stop", "restart", "pause", "resume"]


def router(services: Services) -> APIRouter:
    """The calls of this file."""
    routes = APIRouter(prefix="/v1/modules", tags=["operate"], dependencies=[Depends(needs("admin"))])

    @routes.get("", summary="All modules with their states")
    def modules() -> dict[str, Any]:
        return _body(_control(services).describe())

    @routes.post(
        "/{name}/{action}",
        summary="Start, stop, restart, pause or resume a module",
        responses={202: {"description": "It is the server that answers, which goes on with it now.", "model": dict}},
    )
    async def act(name: Name, action: Action, response: Response) -> dict[str, Any]:
        entries = await run_in_threadpool(_control(services).act, action, name)
        if any("pending" in entry for entry in entries):
            response.status_code = 202
        return _body(entries)

    return routes


def _control(services: Services) -> ModuleControl:
    if services.modules is None:
        raise RelayUnavailableError(
            "no modules: this server was not started by 'differ run'", hint="start the relay with 'differ run'"
        )
    return services.modules


def _body(entries: Any) -> dict[str, list[Mapping[str, Any]]]:
    return {"modules": [dict(entry) for entry in entries]}
