"""`/healthz`: the process answers. `/readyz`: it can serve the stream now. Neither needs a token, and neither tells
anything that a stranger could use.
"""

from __future__ import annotations

import logging

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from differ.errors import DifferError, RelayUnavailableError
from differ.server.problems import problem
from differ.server.services import Services

log = logging.getLogger(__name__)


def router(services: Services) -> APIRouter:
    """The calls of this file."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", summary="Whether the stream can be served now", response_model=None)
    async def readyz() -> dict[str, str] | JSONResponse:
        try:
            services.check_ready()
            await services.read(services.project.catalog.stream)
        except DifferError as error:
            log.warning("not ready: %s", error)
            return problem(RelayUnavailableError("not ready", hint="the relay's log says why"))
        return {"status": "ready"}

    return routes
