"""From `kind` in scheduler.yaml to the sink's class, and from `options` to the class's own checked options.

    kind: sql                          built in
    kind: sinks/mysinks.py:MySink      a class of the project, by path
    kind: my_package.module:MySink     a class of an installed package

Built-in sinks are imported when they are asked for, and import their drivers when they open. Invariant: an unknown
kind or option, or a value of a wrong type, is one ConfigError that names sink and option; nothing is ignored.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from differ.config.problems import dotted, from_validation, suggestion
from differ.config.sink import SinkSettings
from differ.errors import ConfigError, DifferError, SinkError
from differ.sinks.contract import EventSink, Sink, SinkContext, StateSink
from differ.sinks.loading import load_attribute

BUILT_IN = {
    "console": "differ.sinks.console:ConsoleSink",
    "elasticsearch": "differ.sinks.elasticsearch:ElasticsearchSink",
    "files": "differ.sinks.files:FilesSink",
    "kafka": "differ.sinks.kafka:KafkaSink",
    "mongodb": "differ.sinks.mongodb:MongoSink",
    "nats": "differ.sinks.nats:NatsSink",
    "sql": "differ.sinks.sql:SqlSink",
    "webhook": "differ.sinks.webhook:WebhookSink",
}


def sink_class(kind: str, project: Path) -> type[Sink]:
    """The class of a kind. Raises ConfigError for an unknown one, with the nearest; SinkError when it does not load."""
    if kind in BUILT_IN:
        module, _, name = BUILT_IN[kind].partition(":")
        found: Any = getattr(importlib.import_module(module), name)
    elif ":" in kind:
        found = load_attribute(kind, project, what="kind")
    else:
        raise ConfigError(
            f"kind {kind!r}: there is no such sink; {suggestion(kind, BUILT_IN)}",
            hint="or name a class of your own, as in sinks/mysinks.py:MySink",
        )
    if not (isinstance(found, type) and issubclass(found, StateSink | EventSink)):
        raise ConfigError(
            f"kind {kind!r}: it is no sink",
            hint="derive the class from StateSink or EventSink of differ.sinks.contract",
        )
    return found


def make_sink(settings: SinkSettings, context: SinkContext) -> Sink:
    """The sink that the settings describe, not yet opened. Raises ConfigError, SinkError."""
    where = f"sink {context.name}"
    try:
        found = sink_class(settings.kind, context.project)
        options = parse_options(found, settings.options, context)
        return found(context, options)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None
    except SinkError as error:
        raise SinkError(f"{where}: {error.message}", hint=error.hint) from None


def parse_options(kind: type[Sink], options: Mapping[str, Any], context: SinkContext) -> Any:
    """The options checked by the class, without connecting. Raises ConfigError that tells all that is wrong."""
    try:
        parsed = kind.Options.model_validate(
            dict(options), by_alias=True, by_name=False, context={"project": context.project}
        )
    except ValidationError as cause:
        told = [f"options.{dotted(problem.path)}{problem.text}" for problem in from_validation(kind.Options, cause)]
        raise ConfigError("; ".join(told), hint="docs/sinks.md lists the options of every sink") from None
    try:
        kind.check(context, parsed)
    except DifferError as error:
        raise ConfigError(error.message, hint=error.hint) from None
    return parsed
