"""A version of a source's schema as people and programs are shown it, on the command line and over HTTP alike.

Invariant: the fields before the schema itself are the same in every form.
"""

from __future__ import annotations

from typing import Any, Literal

from differ.catalog.reading import SchemaEntry

SchemaForm = Literal["avro", "arrow", "json"]


def schema_document(entry: SchemaEntry, form: SchemaForm | str | None = None) -> dict[str, Any]:
    """The version with its schema: `avro` that of events, `arrow` and `json` (JSON Schema) that of rows, None as it is
    pinned."""
    head: dict[str, Any] = {
        "id": entry.id,
        "source": entry.source,
        "version": entry.version,
        "created_at": entry.created_at.isoformat().replace("+00:00", "Z"),
        "changes": list(entry.changes),
    }
    if form == "avro":
        from differ.formats.avro_schema import event_schema

        return head | {"avro": event_schema(entry.source, entry.schema)}
    if form == "arrow":
        from differ.formats.arrow import arrow_schema_json

        return head | {"arrow": arrow_schema_json(entry.schema)}
    if form == "json":
        from differ.formats.json_schema import json_schema

        return head | {"json": json_schema(entry.schema, title=entry.source)}
    return head | {"schema": entry.schema.to_json()}
