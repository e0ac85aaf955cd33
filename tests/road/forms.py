"""Every form in which an event leaves differ, read back to Python's values by readers that are not differ's.

What a reader needs is the column's type, as a text; it is the test that says it, never the code under test.
"""

import base64
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pyarrow as pa
from bson import json_util

from differ.formats.registry import event_format
from differ.project import Project

Types = Mapping[str, str]
Change = tuple[str, Any, Any, Any]
"""op, key, before, after; the images as rows of comparable values."""

_ISO_DURATION = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,6}))?S)?)?")


def comparable(value: Any) -> Any:
    """A value with its kind, so that 1, True, 1.0 and "1" differ; NaN equals NaN, and a Decimal is its number."""
    match value:
        case None | str() | bool():
            return value if not isinstance(value, bool) else ("bool", value)
        case float() if math.isnan(value):
            return ("float", "NaN")
        case float():
            return ("float", value + 0.0)
        case Decimal() if value.is_nan():
            return ("decimal", "NaN")
        case Decimal():
            return ("decimal", value)
        case bytes():
            return ("bytes", bytes(value))
        case int():
            return ("int", int(value))
        case list() | tuple():
            return [comparable(item) for item in value]
        case dict():
            return {name: comparable(item) for name, item in value.items()}
        case _:
            return (type(value).__name__, value)


def row(values: Mapping[str, Any] | None, types: Types) -> dict[str, Any] | None:
    """What is expected of a row, given as Python values: whole numbers of decimals and floats may be ints."""
    if values is None:
        return None
    return {name: comparable(_as_kind(value, types[name])) for name, value in values.items()}


def _as_kind(value: Any, type_: str) -> Any:
    if value is None:
        return None
    if type_.startswith("decimal"):
        return Decimal(value)
    return float(value) if type_.startswith("float") else value


def all_forms(project: Project, source: str, since: int, types: Types) -> dict[str, list[Change]]:
    """The events of one source after an SCN, by form; the images must be of these types."""
    return {name: list(read(project, source, since, types)) for name, read in READERS.items()}


def fold(changes: Iterable[Change]) -> dict[tuple[Any, ...], Any]:
    """The state of a consumer who applied these changes, each of which must fit what is there."""
    state: dict[tuple[Any, ...], Any] = {}
    for op, key, before, after in changes:
        name = tuple(key.values())
        assert state.get(name) == before, f"{op} of {key}"
        assert (before is None, after is None) == (op == "insert", op == "delete")
        if after is None:
            del state[name]
        else:
            state[name] = after
    return state


def _python(project: Project, source: str, since: int, types: Types) -> Iterator[Change]:
    for event in project.events(source, since=since):
        images = [_row_of(image, types, lambda value, type_: value) for image in (event.key, event.before, event.after)]
        yield (event.op, *images)


def _ndjson(project: Project, source: str, since: int, types: Types) -> Iterator[Change]:
    for line in _bytes(project, source, since, "ndjson").splitlines():
        event = json.loads(line)
        yield (event["op"], *(_row_of(event[part], types, from_json) for part in ("key", "before", "after")))


def _debezium(project: Project, source: str, since: int, types: Types) -> Iterator[Change]:
    ops = {"c": "insert", "r": "insert", "u": "update", "d": "delete"}
    for line in _bytes(project, source, since, "debezium").splitlines():
        event = json.loads(line)
        before, after = (_row_of(event[part], types, from_json) for part in ("before", "after"))
        shown = after if after is not None else before
        yield ops[event["op"]], {"id": shown["id"]}, before, after


def _avro(project: Project, source: str, since: int, types: Types) -> Iterator[Change]:
    body = io.BytesIO(_bytes(project, source, since, "avro"))
    for event in fastavro.reader(body) if body.getbuffer().nbytes else ():
        yield (event["op"], *(_row_of(event[part], types, from_avro) for part in ("key", "before", "after")))


def _arrow(project: Project, source: str, since: int, types: Types) -> Iterator[Change]:
    body = _bytes(project, source, since, "arrow")
    table = pa.ipc.open_stream(body).read_all().to_pylist() if body else []
    for event in table:
        yield (event["op"], *(_row_of(event[part], types, from_storage) for part in ("key", "before", "after")))


READERS: dict[str, Callable[[Project, str, int, Types], Iterator[Change]]] = {
    "python": _python, "ndjson": _ndjson, "debezium": _debezium, "avro": _avro, "arrow": _arrow,
}  # fmt: skip


def _bytes(project: Project, source: str, since: int, form: str) -> bytes:
    out = io.BytesIO()
    event_format(form).write(project.event_batches(source, since=since), out)
    return out.getvalue()


def _row_of(image: Mapping[str, Any] | None, types: Types, read: Callable[[Any, str], Any]) -> Any:
    if image is None:
        return None
    return {
        name: None if value is None else comparable(read(value, types[name])) for name, value in dict(image).items()
    }


def from_json(value: Any, type_: str) -> Any:
    """A JSON value of NDJSON or Debezium."""
    match re.match(r"[a-z]+", type_)[0]:  # type: ignore[index]
        case "float":
            return float(value)
        case "decimal":
            assert isinstance(value, str)
            return Decimal(value)
        case "bytes":
            return base64.b64decode(value, validate=True)
        case "uuid":
            return UUID(value)
        case "date":
            return date.fromisoformat(value)
        case "time":
            return time.fromisoformat(value)
        case "timestamp":
            assert value.endswith("Z") == type_.endswith("UTC]")
            return datetime.fromisoformat(value)
        case "duration":
            return _duration(value)
        case "json":
            return document(json.dumps(value))
        case _:
            return value


def from_avro(value: Any, type_: str) -> Any:
    """What fastavro gives."""
    if type_ == "duration[us]":
        return timedelta(microseconds=value)
    if type_.startswith("decimal") and isinstance(value, str):
        return Decimal(value)
    if type_ == "uuid":
        return value if isinstance(value, UUID) else UUID(value)
    return document(value) if type_ == "json" else value


def from_storage(value: Any, type_: str) -> Any:
    """What `to_pylist` of storage types gives: Arrow events, snapshots, Parquet."""
    match type_:
        case "uuid":
            return UUID(bytes=value)
        case "json":
            return document(value)
        case "decimal":
            return Decimal(value)
        case _:
            return value


def document(text: str) -> Any:
    """Extended JSON as Python values; `$bigInt` is differ's word for a whole number that BSON has no place for."""
    return _big(json_util.loads(text))


def _big(value: Any) -> Any:
    if isinstance(value, list):
        return [_big(item) for item in value]
    if not isinstance(value, dict):
        return value
    return int(value["$bigInt"]) if value.keys() == {"$bigInt"} else {name: _big(item) for name, item in value.items()}


def storage_row(values: Mapping[str, Any], types: Types) -> dict[str, Any]:
    """A row of a snapshot or of DuckDB as comparable values."""
    return _row_of(values, types, from_storage)  # type: ignore[no-any-return]


def _duration(text: str) -> timedelta:
    match = _ISO_DURATION.fullmatch(text)
    assert match, text
    sign, days, hours, minutes, seconds, fraction = match.groups()
    span = timedelta(
        days=int(days or 0),
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "0").ljust(6, "0")),
    )
    return -span if sign else span
