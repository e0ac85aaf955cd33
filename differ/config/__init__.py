"""scheduler.yaml and the environment -> validated, frozen settings. Nothing else in differ reads the
environment.

    load(project) -> Settings       find_project(start) -> Path      json_schema() -> dict
    shown(settings) -> str          reference_markdown() -> str      environment() -> Environment

The names are loaded when first used: importing this package costs nothing, importing what it offers costs
pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from differ.config.loading import Environment, environment, find_project, load
    from differ.config.reference import reference_markdown
    from differ.config.relay import (
        BootstrapSettings,
        MetricsSettings,
        RelaySettings,
        RetentionSettings,
        TokenSettings,
    )
    from differ.config.scalars import Limit
    from differ.config.schema import json_schema
    from differ.config.settings import (
        ExecutorSettings,
        GroupSettings,
        Settings,
        StorageSettings,
    )
    from differ.config.show import shown
    from differ.config.sink import (
        BatchSettings,
        FilterSettings,
        HookSettings,
        MappingRules,
        MappingSettings,
        RefusedSettings,
        RetrySettings,
        SinkSettings,
    )
    from differ.config.source import (
        ColumnsSettings,
        GuardSettings,
        RowsGuard,
        ScheduleSettings,
        SnapshotSettings,
        SourceSettings,
    )

_MODULES = {
    "loading": ("Environment", "environment", "find_project", "load"),
    "reference": ("reference_markdown",),
    "relay": ("BootstrapSettings", "MetricsSettings", "RelaySettings", "RetentionSettings", "TokenSettings"),
    "scalars": ("Limit",),
    "schema": ("json_schema",),
    "settings": (
        "ExecutorSettings",
        "GroupSettings",
        "Settings",
        "StorageSettings",
    ),
    "show": ("shown",),
    "sink": (
        "BatchSettings",
        "FilterSettings",
        "HookSettings",
        "MappingRules",
        "MappingSettings",
        "RefusedSettings",
        "RetrySettings",
        "SinkSettings",
    ),
    "source": (
        "ColumnsSettings",
        "GuardSettings",
        "RowsGuard",
        "ScheduleSettings",
        "SnapshotSettings",
        "SourceSettings",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BatchSettings",
    "BootstrapSettings",
    "ColumnsSettings",
    "Environment",
    "ExecutorSettings",
    "FilterSettings",
    "GroupSettings",
    "GuardSettings",
    "HookSettings",
    "Limit",
    "MappingRules",
    "MappingSettings",
    "MetricsSettings",
    "RefusedSettings",
    "RelaySettings",
    "RetentionSettings",
    "RetrySettings",
    "RowsGuard",
    "ScheduleSettings",
    "Settings",
    "SinkSettings",
    "SnapshotSettings",
    "SourceSettings",
    "StorageSettings",
    "TokenSettings",
    "environment",
    "find_project",
    "json_schema",
    "load",
    "reference_markdown",
    "shown",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
