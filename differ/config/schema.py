"""The JSON Schema of scheduler.yaml, which editors complete and check from (`differ config schema`).

Made from the same classes that loading validates with, so the two cannot part; draft 2020-12, as pydantic
writes it.
"""

from __future__ import annotations

from typing import Any

from differ.config.document import parse_document
from differ.config.settings import Settings


def json_schema() -> dict[str, Any]:
    """The schema of the whole file. Values that hold `${...}` pass where text can stand."""
    schema = _without_filled_in(Settings.model_json_schema(by_alias=True))
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "scheduler.yaml of differ",
        "description": "The sources, schedules, guards, relay and sinks of one project.",
    }
    return head | {key: value for key, value in schema.items() if key not in head}


def _without_filled_in(schema: Any) -> Any:
    """Drop what is not a key of the file, and pydantic's titles, which repeat the names."""
    if isinstance(schema, list):
        return [_without_filled_in(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "properties":
            cleaned[key] = {name: _without_filled_in(item) for name, item in value.items() if not name.startswith("(")}
        elif key == "required":
            if required := [name for name in value if not name.startswith("(")]:
                cleaned[key] = required
        elif key == "examples" and isinstance(value, list):
            cleaned[key] = [parse_document(f"example: {item}").value["example"] for item in value]
        elif key == "default" and not isinstance(value, (str, int, float, bool, type(None))):
            continue  # a whole section: its own keys tell their defaults
        else:
            cleaned[key] = _without_filled_in(value)
    return cleaned
