"""The value types of the settings: how each is parsed from the file, and what its JSON Schema says.

Every type takes text as well as its own kind of value, because `${VAR}` always gives text.
Invariant: what the JSON Schema refuses, loading refuses too; loading may know better (a time zone, a cron
expression).
"""

from __future__ import annotations

import os
import re
import zoneinfo
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from differ.config import scalars
from differ.config.cron import parse_cron

_REFERENCE = r"^.*\$\{.*$"


def _schema(*parts: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*parts, {"type": "string", "pattern": _REFERENCE}]})


def _number(low: float, high: float | None = None) -> dict[str, Any]:
    return {"type": "number", "minimum": low} | ({} if high is None else {"maximum": high})


def _text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


_DURATION_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+$|^\s*[0-9]+(\.[0-9]+)?\s*$"
_SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKMGT]i?B|B)?\s*$"
_PERCENT_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*%?\s*$"


class Section(BaseModel):
    """A mapping of the file: frozen, and a key that it does not know is an error."""

    # Validators are built when they are first asked for: those of sections inside others never are.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, defer_build=True
    )


def _at_least(low: int) -> AfterValidator:
    def check(value: int) -> int:
        if value < low:
            raise ValueError(f"expected a whole number of at least {low}")
        return value

    return AfterValidator(check)


Duration = Annotated[
    float,
    BeforeValidator(scalars.parse_duration),
    _schema(_number(0, scalars.SECONDS_MAX), _text(_DURATION_PATTERN)),
]
Size = Annotated[int, BeforeValidator(scalars.parse_size), _schema(_number(0), _text(_SIZE_PATTERN))]
Share = Annotated[
    float,
    BeforeValidator(lambda value: float(scalars.parse_share(value))),
    _schema(_number(0, 1), _text(_PERCENT_PATTERN)),
]
LimitField = Annotated[
    scalars.Limit,
    BeforeValidator(scalars.parse_limit),
    _schema({"type": "integer", "minimum": 0}, _text(_PERCENT_PATTERN)),
]
Count = Annotated[
    int,
    BeforeValidator(scalars.parse_whole),
    _at_least(0),
    _schema({"type": "integer", "minimum": 0}, _text(r"^\s*\+?[0-9]+\s*$")),
]
CountFromOne = Annotated[
    int,
    BeforeValidator(scalars.parse_whole),
    _at_least(1),
    _schema({"type": "integer", "minimum": 1}, _text(r"^\s*\+?[0-9]+\s*$")),
]


def _parse_workers(value: Any) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        count = scalars.parse_whole(value)
    except ValueError:
        count = 0
    if count < 1:
        raise ValueError("expected 'auto' or a whole number of at least 1")
    return count


Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_parse_workers),
    _schema({"const": "auto"}, {"type": "integer", "minimum": 1}, _text(r"^\s*\+?[0-9]+\s*$")),
]
Tolerance = Annotated[
    Decimal,
    BeforeValidator(scalars.parse_tolerance),
    _schema({"type": "number", "exclusiveMinimum": 0}, _text(r"^\s*\+?[0-9.]+([eE][-+]?[0-9]+)?\s*$")),
]

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"


def _check_name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN[1:-1], value):
        raise ValueError(
            "a name is 1 to 63 small letters, digits and underscores, and begins with a letter, such as order_items"
        )
    return value


Name = Annotated[str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in value:
        if not name:
            raise ValueError("a name is empty")
        if name in seen:
            raise ValueError(f"{name!r} is given twice")
        seen.add(name)
    return value


Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    AfterValidator(_distinct),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True},
            ]
        }
    ),
]
"""One name or several; always a tuple in the code."""


def _check_cron(value: str) -> str:
    parse_cron(value)
    return value


CronText = Annotated[str, AfterValidator(_check_cron)]


def _check_timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ValueError, OSError) as cause:
        raise ValueError(f"unknown time zone {value[:60]!r}; expected an IANA name such as Europe/Berlin") from cause
    return value


Timezone = Annotated[str, AfterValidator(_check_timezone)]


def _check_listen(value: str) -> str:
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+):(\d{1,5})", value)
    if not found or int(found[1]) > 65535:
        raise ValueError("expected host:port such as 127.0.0.1:7070")
    return value


Listen = Annotated[
    str,
    AfterValidator(_check_listen),
    _schema(_text(r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+):[0-9]{1,5}$")),
]


def _check_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if not re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._\-]{1,253}", name):
            raise ValueError(f"expected a host's name such as relay.example.net, without port, got {name[:60]!r}")
    return value


HostNames = Annotated[Columns, AfterValidator(_check_hosts)]
"""One host or several; always a tuple in the code."""


def _check_http_url(value: str) -> str:
    if not re.fullmatch(_HTTP_URL[1:-1], value):
        raise ValueError(
            "expected the URL of a server such as http://127.0.0.1:7070, without user, query or '/' at its end"
        )
    return value


_HTTP_URL = r"^https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~\-]+)*$"
HttpURL = Annotated[str, AfterValidator(_check_http_url), _schema(_text(_HTTP_URL))]
"""Where an HTTP server is, perhaps below a path."""


def _project(info: ValidationInfo) -> Path:
    """The project's folder while loading a file; the working directory where settings are made in code."""
    context = info.context if isinstance(info.context, dict) else {}
    project: Path = context.get("project") or Path.cwd()
    return project


def _resolve_folder(value: Any, info: ValidationInfo) -> Path:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
    if not text or "\0" in text:
        raise ValueError("expected a folder such as snapshots")
    if text.startswith("s3://"):
        raise ValueError("object storage (s3://) comes with scale-out; this version keeps its files in a local folder")
    if "://" in text:
        raise ValueError("expected a local folder such as snapshots, not a URL")
    return _project(info) / text


Folder = Annotated[Path, BeforeValidator(_resolve_folder), WithJsonSchema({"type": "string", "minLength": 1})]
"""A folder; a relative one starts from the project. Absolute in the code."""


def _resolve_file(value: Any, info: ValidationInfo) -> Path:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
    if not text or "\0" in text or "://" in text:
        raise ValueError("expected a file such as relay.pem")
    return _project(info) / text


File = Annotated[Path, BeforeValidator(_resolve_file), WithJsonSchema({"type": "string", "minLength": 1})]
"""A file; a relative one starts from the project. Absolute in the code."""

_DATABASE_URL = re.compile(r"[a-z][a-z0-9_]*(?:\+[a-z0-9_]+)?://[^\s]*\Z")
_SQLITE = re.compile(r"(?P<head>sqlite(?:\+\w+)?://)(?P<rest>.*)\Z", re.DOTALL)


def _resolve_database(value: str, info: ValidationInfo) -> str:
    if found := _SQLITE.match(value):
        file, mark, query = found["rest"].removeprefix("/").partition("?")
        if (
            not found["rest"].startswith("/")
            or not file
            or file == ":memory:"
            or file.startswith("file:")
            or "\0" in file
        ):
            raise ValueError(
                "expected a SQLite file such as sqlite:///.differ/catalog.db; the catalog outlives a process"
            )
        path = str(_project(info) / file)
        if "?" in path:
            raise ValueError(f"a database URL cannot hold the '?' of {path}; keep the catalog in another folder")
        return f"{found['head']}/{path}{mark}{query}"
    if not _DATABASE_URL.match(value):
        raise ValueError("expected a database URL such as sqlite:///.differ/catalog.db or postgresql://user@host/name")
    return value


DatabaseURL = Annotated[str, AfterValidator(_resolve_database)]
"""A SQLAlchemy URL; a relative SQLite file starts from the project."""
