"""All calls of one server as one ASGI application, and its description at /openapi.json.

The interactive pages that FastAPI offers are off: they load scripts from elsewhere. Invariant: every route is below a
right (see access.py) but those of health.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

import differ
from differ.server import bootstrap, consumers, groups, health, metrics, modules, operate, sources, stream
from differ.server.access import needs
from differ.server.gate import Gate
from differ.server.problems import install
from differ.server.services import Services

ROUTERS = (
    health.router,
    sources.router,
    stream.router,
    consumers.router,
    groups.router,
    bootstrap.router,
    operate.router,
    modules.router,
    metrics.router,
)


class ErrorBody(BaseModel):
    """What went wrong; some codes have further fields, such as oldest, head and source."""

    code: str
    message: str
    hint: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer with a status of 400 or above."""

    error: ErrorBody


class App:
    """A server's calls. `api` is the FastAPI application behind the gate; `services` what they share."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.api = _api(services)
        self._gate: ASGIApp = Gate(self.api, services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        await self._gate(scope, receive, send)


def build_app(services: Services) -> App:
    """The application of one server."""
    return App(services)


def _api(services: Services) -> FastAPI:
    statuses = (400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 503)
    api = FastAPI(
        title="differ",
        version=differ.__version__,
        description="Change events of any store that can be read. See docs/http.md.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses={status: {"model": ErrorAnswer, "description": "An error."} for status in statuses},
    )
    api.state.services = services
    install(api)
    for make in ROUTERS:
        api.include_router(make(services))
    api.include_router(_description(api))
    return api


def _description(api: FastAPI) -> APIRouter:
    routes = APIRouter(tags=["health"], dependencies=[Depends(needs("read"))])

    @routes.get("/openapi.json", summary="This description", response_class=JSONResponse)
    async def openapi() -> dict[str, Any]:
        return api.openapi()

    return routes
