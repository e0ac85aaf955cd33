"""The examples of docs/formats/events.md, made by running the code: `python -m tests.formats.examples` writes them.

Each stands in the page between `<!-- example: NAME -->` and `<!-- end -->`; a test compares them.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa

from differ.formats.arrow import write_stream
from differ.formats.avro import write_avro
from differ.formats.avro_schema import avro_type
from differ.formats.cloudevents import event_lines as cloud_lines
from differ.formats.debezium import lines as debezium_lines
from differ.formats.ndjson import event_lines, event_objects
from differ.model import Window
from tests.formats import factory

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "events.md"
_BLOCK = re.compile(r"(<!-- example: (?P<name>[a-z-]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
BATCH = factory.batch(
    [("update", factory.order(7), factory.order(7, "shipped"))], first_scn=42, window=Window(first=41, last=57)
)


def examples() -> dict[str, str]:
    """Markdown by the name of the example."""
    avro, arrow = io.BytesIO(), io.BytesIO()
    write_avro([BATCH], avro)
    write_stream([BATCH], arrow)
    reader = fastavro.reader(io.BytesIO(avro.getvalue()))
    (record,) = reader
    table = pa.ipc.open_stream(arrow.getvalue()).read_all()
    columns = "\n".join(f"{field.name}: {field.type}" for field in table.schema)
    version = re.compile(r'"version": "[^"]+"')
    return {
        "ndjson": _json(next(event_lines(BATCH))),
        "types": _type_table(),
        "debezium": version.sub('"version": "..."', _json(next(debezium_lines(BATCH)))),
        "cloudevents": _json(next(cloud_lines(BATCH))),
        "avro-schema": _json(json.dumps(_without_metadata(reader.writer_schema)).encode()),
        "avro": _fenced(repr(record["after"]), "python"),
        "arrow": _fenced(columns, "text"),
    }


def on_page(text: str) -> dict[str, str]:
    """Markdown by the name of the example, as the page has it."""
    return {match["name"]: match["body"] for match in _BLOCK.finditer(text)}


def _type_table() -> str:
    (event,) = event_objects(factory.batch([("insert", None, factory.FULL_ROW)], factory.EVERY_TYPE))
    lines = ["| type | example in JSON | Arrow | Avro |", "|---|---|---|---|"]
    for column in factory.EVERY_TYPE.columns:
        shown = json.dumps(event["after"][column.name], ensure_ascii=False)
        avro = _avro_word(avro_type(column.type, column.name))
        lines.append(f"| `{column.type}` | `{shown}` | `{column.type.storage}` | {avro} |")
    return "\n".join(lines) + "\n"


def _avro_word(type_: Any) -> str:
    if isinstance(type_, str):
        return f"`{type_}`"
    if "logicalType" in type_:
        return f"`{type_['type']}`, `{type_['logicalType']}`"
    return f"`{type_['type']}`"


def _json(line: bytes) -> str:
    return _fenced(json.dumps(json.loads(line), indent=2, ensure_ascii=False), "json")


def _without_metadata(schema: Any) -> Any:
    """The schema without what fastavro notes for itself."""
    if isinstance(schema, dict):
        return {name: _without_metadata(item) for name, item in schema.items() if not name.startswith("__")}
    return [_without_metadata(item) for item in schema] if isinstance(schema, list) else schema


def _fenced(body: str, language: str) -> str:
    return f"```{language}\n{body}\n```\n"


def main() -> None:
    """Write the examples into the page."""
    made = examples()
    text = _BLOCK.sub(lambda match: match[1] + made[match["name"]] + match[4], PAGE.read_text())
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
