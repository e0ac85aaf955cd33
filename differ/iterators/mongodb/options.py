"""What scheduler.yaml may say under `options:` of a source with `iterator: mongodb`, checked before any connection.

Filters, projections and pipelines may be YAML, in which Extended JSON's tags work too ({$oid: ...}), or Extended JSON
text. Invariant: nothing that runs code on the server or writes there is ever sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import unquote_plus

from bson.code import Code
from bson.dbref import DBRef
from bson.errors import BSONError
from bson.json_util import RELAXED_JSON_OPTIONS, JSONOptions, object_hook
from bson.json_util import loads as load_extended_json

from differ.errors import UsageError, register_secret
from differ.iterators.contract import Context
from differ.iterators.documents import DOCUMENT, DOCUMENTS_MAX, ID, Projected, can_project
from differ.iterators.options import Options

_FORBIDDEN = {
    "$where": "runs code", "$function": "runs code", "$accumulator": "runs code", "$out": "writes",
    "$merge": "writes", "mapReduce": "runs code", "mapreduce": "runs code", "$eval": "runs code",
}  # fmt: skip
_JSON: JSONOptions = RELAXED_JSON_OPTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class MongoOptions:
    """The options of one source. `pipeline` goes without `filter` and `projection`.

    url: mongodb:// or mongodb+srv://. database: the url's by default. projected: typed columns beside the document.
    batch_rows: documents per batch. connect_args: passed to MongoClient as they are.
    """

    url: str
    database: str
    collection: str
    filter: Mapping[str, Any]
    projection: Mapping[str, Any] | None
    pipeline: tuple[Mapping[str, Any], ...] | None
    projected: tuple[Projected, ...]
    batch_rows: int | None
    connect_args: Mapping[str, Any]


def take_options(ctx: Context) -> MongoOptions:
    """Check `ctx.options`. Raises ConfigError naming source and option."""
    options = Options(ctx.source, ctx.options)
    url = options.require("url", str)
    _hide_password(url)
    pipeline: Any = _parsed(options, "pipeline", list)
    filter_, projection = _parsed(options, "filter", dict), _parsed(options, "projection", dict)
    if pipeline is not None and (filter_ is not None or projection is not None):
        raise options.error("pipeline", "it goes without filter and projection", hint="use $match and $project stages")
    batch_rows = options.take("batch_rows", int)
    if batch_rows is not None and not 1 <= batch_rows <= DOCUMENTS_MAX:
        raise options.error("batch_rows", f"it must be 1 or more, and {DOCUMENTS_MAX} or less")
    made = MongoOptions(
        url=url,
        database=options.take("database", str) or _database_of(url, options),
        collection=options.require("collection", str),
        filter=filter_ or {},
        projection=_with_id(projection, options),
        pipeline=None if pipeline is None else tuple(pipeline),
        projected=tuple(_projected(options)),
        batch_rows=batch_rows,
        connect_args=options.take("connect_args", dict) or {},
    )
    options.finish()
    return made


def _hide_password(url: str) -> None:
    netloc = url.partition("://")[2].partition("/")[0]
    password = netloc.rpartition("@")[0].partition(":")[2]
    register_secret(password)
    register_secret(unquote_plus(password))


def _database_of(url: str, options: Options) -> str:
    name = url.partition("://")[2].partition("/")[2].partition("?")[0].partition(".")[0]
    if not name:
        raise options.error("database", "it is missing", hint="set it, or end the url with it: mongodb://host/database")
    return unquote_plus(name)


def _parsed(options: Options, name: str, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """A mapping or list given as YAML or as Extended JSON text, as what pymongo sends."""
    raw: Any = options.take(name, str, kind)
    if raw is None:
        return None
    try:
        value: Any = load_extended_json(raw, json_options=_JSON) if isinstance(raw, str) else _bson(raw)
    except (BSONError, ValueError, TypeError, KeyError) as error:
        raise options.error(name, f"it is no valid Extended JSON: {error}") from None
    if not isinstance(value, kind):
        raise options.error(name, f"it must be a {'list of stages' if kind is list else 'mapping'}")
    if kind is list and not all(isinstance(stage, Mapping) and len(stage) == 1 for stage in value):
        raise options.error(name, "each stage must be a mapping with one operator")
    _refuse_forbidden(options, name, value)
    return value


def _bson(value: Any) -> Any:
    """YAML as BSON: tags of Extended JSON become values, YAML's own dates moments of UTC."""
    if isinstance(value, Mapping):
        inner = {str(name): _bson(item) for name, item in value.items()}
        return object_hook(inner, _JSON) if any(name in _TAGS for name in inner) else inner
    if isinstance(value, list | tuple):
        return [_bson(item) for item in value]
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


_TAGS = {
    "$oid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$binary", "$uuid", "$timestamp",
    "$regularExpression", "$minKey", "$maxKey", "$symbol", "$code", "$undefined",
}  # fmt: skip


def _refuse_forbidden(options: Options, name: str, value: Any) -> None:
    if isinstance(value, DBRef):  # Extended JSON makes one of a mapping with $ref and $id, whatever else it holds
        value = value.as_doc()
    if isinstance(value, Code):
        raise options.error(name, "$code is code, which differ never sends to a server")
    if isinstance(value, Mapping):
        for operator, item in value.items():
            if operator in _FORBIDDEN:
                raise options.error(name, f"{operator} {_FORBIDDEN[operator]} on the server, which differ never does")
            _refuse_forbidden(options, name, item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            _refuse_forbidden(options, name, item)


def _with_id(projection: Mapping[str, Any] | None, options: Options) -> Mapping[str, Any] | None:
    if projection is not None and ID in projection and projection[ID] in (0, False):
        raise options.error("projection", "it must not leave out _id", hint="_id tells one document from another")
    return projection


def _projected(options: Options) -> Sequence[Projected]:
    from differ.records.names import parse_type

    found = []
    given: Mapping[str, Any] = options.take("columns", dict) or {}
    for name, about in given.items():
        body = {"type": about} if isinstance(about, str) else about
        if name in (ID, DOCUMENT):
            raise options.error("columns", f"{name!r} is always there and cannot be configured")
        if not isinstance(body, Mapping) or set(body) - {"path", "type"} or "type" not in body:
            raise options.error("columns", f"{name!r} must be a type, or as in {{path: a.b, type: decimal(10,2)}}")
        try:
            type_ = parse_type(str(body["type"]))
        except UsageError as error:
            raise options.error("columns", f"{name!r}: {error.message}", hint=error.hint) from None
        if not can_project(type_) or (type_.kind == "timestamp" and not type_.zone):
            hint = "use timestamp[us,UTC]" if type_.kind == "timestamp" else "use json for lists and documents"
            raise options.error("columns", f"{name!r}: no BSON value is a {type_}", hint=hint)
        found.append(Projected(name=str(name), path=str(body.get("path", name)), type=type_))
    return found
