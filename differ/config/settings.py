"""The settings of a project: all of scheduler.yaml, validated and frozen; the field texts are the reference
page.

Field names carry units (`every_seconds`); the file's keys are their aliases (`every`). A field whose alias
begins with "(" is not a key of the file: loading fills it in.
Invariant: nobody after loading reads the file or the environment again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from differ.config.fields import (
    Columns,
    DatabaseURL,
    Folder,
    Name,
    Section,
    Size,
    Workers,
)
from differ.config.problems import suggestion
from differ.config.relay import BootstrapSettings, MetricsSettings, RelaySettings
from differ.config.sink import SinkSettings
from differ.config.source import ScheduleSettings, SourceSettings
from differ.errors import UsageError


class StorageSettings(Section):
    """Where things lie. Relative paths start from the project's folder."""

    snapshots: Folder = Field(
        Path("snapshots"),
        validate_default=True,
        description="Folder of the Parquet snapshots.",
        examples=["snapshots"],
    )
    state: Folder = Field(
        Path(".differ"),
        validate_default=True,
        description="Folder of the relay's segments, spill files and dead letters.",
        examples=[".differ"],
    )
    catalog: DatabaseURL = Field(
        "sqlite:///.differ/catalog.db",
        validate_default=True,
        description="SQLAlchemy URL of the database that says what is committed: SQLite, or PostgreSQL "
        "when several machines share it.",
        examples=["sqlite:///.differ/catalog.db"],
        repr=False,
    )


class GroupSettings(Section):
    """Sources of one store that are read in one consistent state and committed as one window."""

    name: str = Field("", alias="(name)")
    sources: Columns = Field(
        min_length=1,
        description="The names of its sources; a source is in one group at most.",
        examples=["[orders]"],
    )
    schedule: ScheduleSettings | None = Field(
        None,
        description="When to scan the group; it counts instead of its sources' own schedules.",
        examples=["{every: 5m}"],
    )


class ExecutorSettings(Section):
    """Where splits and key ranges run."""

    kind: Literal["local", "dask"] = Field(
        "local",
        description="`local`: threads of the process. `dask` is not available in this version.",
        examples=["local"],
    )
    workers: Workers = Field(
        "auto",
        description="Threads of one scan, and scans at once under `differ run`; `auto`: one for each processor.",
        examples=["auto"],
    )
    memory_bytes: Size = Field(
        1024**3,
        alias="memory",
        description="What one scan may use for staging and comparing.",
        examples=["1GiB"],
    )


class Settings(Section):
    """All settings of one project."""

    project: Path = Field(alias="(project)")
    version: Literal[1] = Field(1, description="The version of this file's format.", examples=["1"])
    storage: StorageSettings = Field(
        default_factory=dict,
        validate_default=True,
        description="Where things lie.",
        examples=["{state: .differ}"],
    )
    sources: dict[Name, SourceSettings] = Field(
        default_factory=dict,
        description="What is watched, by name.",
        examples=["{orders: {iterator: sql, options: {url: env:SHOP_URL, table: orders}}}"],
    )
    consistency_groups: dict[Name, GroupSettings] = Field(
        default_factory=dict,
        description="Sources that are read and committed together, by name.",
        examples=["{shop: {sources: [orders, order_items]}}"],
    )
    relay: RelaySettings = Field(
        default_factory=RelaySettings,
        description="The durable buffer of events and its server.",
        examples=["{listen: 127.0.0.1:7070}"],
    )
    bootstrap: BootstrapSettings = Field(
        default_factory=BootstrapSettings,
        description="How consumers that are new or fell too far behind are served.",
        examples=["{lease: 10m}"],
    )
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings,
        description="Where measures are sent, besides `/metrics` of the relay.",
        examples=["{graphite: 127.0.0.1:2003}"],
    )
    sinks: dict[Name, SinkSettings] = Field(
        default_factory=dict,
        description="Destinations that are kept up to date, by name.",
        examples=["{search: {kind: elasticsearch, sources: [orders]}}"],
    )
    executor: ExecutorSettings = Field(
        default_factory=ExecutorSettings, description="Where work runs.", examples=["{workers: 4}"]
    )
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("sources", "consistency_groups", "sinks")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name: section.model_copy(update={"name": name}) for name, section in value.items()}

    def source(self, name: str) -> SourceSettings:
        """The source of this name; UsageError, with the nearest name, where there is none."""
        if name not in self.sources:
            raise UsageError(f"unknown source {name!r}", hint=suggestion(name, self.sources))
        return self.sources[name]

    def group(self, name: str) -> GroupSettings:
        """The consistency group of this name; UsageError, with the nearest name, where there is none."""
        if name not in self.consistency_groups:
            raise UsageError(f"unknown consistency group {name!r}", hint=suggestion(name, self.consistency_groups))
        return self.consistency_groups[name]

    def group_of(self, source_name: str) -> GroupSettings | None:
        """The consistency group that a source belongs to, or None."""
        found = (group for group in self.consistency_groups.values() if source_name in group.sources)
        return next(found, None)
