"""Operate a source over HTTP: scan, pause, resume, approve and reject.

A call is answered with what the command of the same name prints. Invariants: what a person ends (approve, reject) names
the cycle and its hash, so nobody approves what he did not see; what ends a cycle of a group wants a right to all of it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from differ.model import CycleResult
from differ.server.access import grant_of, needs
from differ.server.naming import known_source
from differ.server.services import Services

Source = Annotated[str, Path(min_length=1, max_length=63, description="The name of a source.")]


class Held(BaseModel):
    """What is approved or rejected, as `differ status` and /v1/sources show it."""

    model_config = ConfigDict(extra="forbid")

    cycle: int = Field(ge=1, le=2**63 - 1)
    hash: str = Field(min_length=1, max_length=64)


def router(services: Services) -> APIRouter:
    """The calls of this file."""
    project = services.project

    async def whole_group(request: Request, source: Source) -> None:
        group = project.settings.group_of(source)
        grant_of(request).check(group.sources if group else (source,))

    checks = [Depends(needs("admin", by_source=True)), Depends(whole_group)]
    routes = APIRouter(prefix="/v1/sources/{source}", tags=["operate"], dependencies=checks)

    @routes.post("/scan", summary="Run one cycle now, and wait for its result")
    async def scan(source: Source) -> dict[str, Any]:
        await services.read(_configured, services, source)
        return await services.scans.run(source)

    @routes.post("/pause", summary="Leave the source out of the schedule")
    def pause(source: Source) -> dict[str, Any]:
        project.pause(_configured(services, source))
        return {"source": source, "paused": True}

    @routes.post("/resume", summary="Take the source back into the schedule")
    def resume(source: Source) -> dict[str, Any]:
        project.resume(_configured(services, source))
        return {"source": source, "paused": False}

    @routes.post("/approve", summary="Commit the cycle that a guard holds")
    def approve(source: Source, held: Held) -> dict[str, Any]:
        known_source(project, source)
        return _line(source, project.approve(source, cycle=held.cycle, hash=held.hash))

    @routes.post("/reject", summary="Throw away the cycle that a guard holds")
    def reject(source: Source, held: Held) -> dict[str, Any]:
        known_source(project, source)
        return _line(source, project.reject(source, cycle=held.cycle, hash=held.hash))

    return routes


def _configured(services: Services, source: str) -> str:
    """A source that can be scanned: scheduler.yaml names it. What only the catalog knows is a senseless call."""
    known_source(services.project, source)
    return services.project.settings.source(source).name


def _line(source: str, results: list[CycleResult]) -> dict[str, Any]:
    """The source's result; a consistency group's other results are below `group`."""
    own = next(result for result in results if result.source == source)
    others = [result.to_json() for result in results if result.source != source]
    return own.to_json() | ({"group": others} if others else {})
