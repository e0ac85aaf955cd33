"""What there is: the sources with where they stand, and the versions of their schemas.

Invariant: the fields of a source are those of `differ status --json`, with its key and schema added.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from differ.catalog.reading import SchemaEntry
from differ.catalog.schema_document import SchemaForm, schema_document
from differ.errors import CorruptionError
from differ.server.access import grant_of, needs
from differ.server.naming import known_source
from differ.server.problems import NotFoundError
from differ.server.services import Services

SCHEMA_ID_MAX = 2**31 - 1
SourceName = Annotated[str, Path(min_length=1, max_length=63, description="The name of a source.")]


class SchemaQuery(BaseModel):
    """How a schema is shown."""

    model_config = ConfigDict(extra="forbid")

    format: SchemaForm | None = None


def router(services: Services) -> APIRouter:
    """The calls of this file."""
    routes = APIRouter(tags=["sources"], dependencies=[Depends(needs("read", by_source=True))])
    project = services.project

    @routes.get("/v1/sources", summary="The stream and all its sources")
    def sources(request: Request) -> dict[str, Any]:
        grant = grant_of(request)
        status = project.status()
        latest = {entry.source: entry for entry in project.catalog.schemas()}
        return _stream() | {
            "sources": [
                _shown(body, latest.get(body["source"])) for body in status["sources"] if grant.gives([body["source"]])
            ],
        }

    @routes.get("/v1/sources/{source}", summary="Where one source stands")
    def one_source(source: SourceName) -> dict[str, Any]:
        found = project.catalog.schemas(known_source(project, source))
        return _stream() | _shown(project.source_status(source), found[-1] if found else None)

    @routes.get("/v1/schemas/{schema_id}", summary="A version of a source's schema, by the id that events carry")
    def schema(
        request: Request,
        schema_id: Annotated[int, Path(ge=0, le=SCHEMA_ID_MAX)],
        query: Annotated[SchemaQuery, Query()],
    ) -> dict[str, Any]:
        try:
            entry = project.catalog.schema(schema_id)
        except CorruptionError as error:  # an event that names it would be damage; a client that does is not
            raise NotFoundError(f"there is no schema {schema_id}", hint="see /v1/sources") from error
        grant_of(request).check([entry.source])
        return schema_document(entry, query.format)

    def _stream() -> dict[str, Any]:
        stream = project.catalog.stream()
        return {"stream": stream.stream_id, "head": stream.head_scn, "oldest": stream.oldest_scn}

    return routes


def _shown(status: dict[str, Any], schema: SchemaEntry | None) -> dict[str, Any]:
    return status | {
        "schema": schema.id if schema else None,
        "key": list(schema.schema.key) if schema else None,
    }
