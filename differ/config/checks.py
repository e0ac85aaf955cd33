"""What no single key can show to be wrong: names that refer to each other, and what this version cannot do
yet.

Invariant: settings that pass refer to nothing that does not exist, and give no column two treatments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from differ.config.problems import Problem, suggestion
from differ.config.settings import GroupSettings, Settings
from differ.config.source import SourceSettings

MASK_KEY = "DIFFER_MASK_KEY"


def check(settings: Settings) -> list[Problem]:
    """All problems between keys, in no particular order."""
    problems: list[Problem] = []
    for source in settings.sources.values():
        problems += _columns(source)
    problems += _groups(settings)
    for sink in settings.sinks.values():
        problems += _known(settings, ("sinks", sink.name), sink.sources)
    for name, token in settings.relay.tokens.limited.items():
        problems += _known(settings, ("relay", "tokens", "limited", name), token.sources)
    if settings.executor.kind == "dask":
        problems.append(Problem(("executor", "kind"), "'dask' is not available in this version; use 'local'"))
    return problems


def _columns(source: SourceSettings) -> Iterator[Problem]:
    at = ("sources", source.name, "columns")
    columns = source.columns
    treatments = {
        "exclude": columns.exclude,
        "ignore": columns.ignore,
        "tolerance": tuple(columns.tolerance),
        "mask": tuple(columns.mask),
    }
    for treatment, names in treatments.items():
        for name in names:
            if name in source.key:
                yield Problem((*at, treatment, name), f"{name!r} is part of the key, which stays as it is")
    for (one, ones), (other, others) in combinations(treatments.items(), 2):
        if other == "mask" and one == "ignore":
            continue
        for name in others:
            if name in ones:
                yield Problem((*at, other, name), f"column {name!r} is in '{one}' as well; decide for one")
    if "hmac" in columns.mask.values() and not source.mask_key:
        yield Problem((*at, "mask"), f"'hmac' needs a key; set the environment variable {MASK_KEY}")


def _groups(settings: Settings) -> Iterator[Problem]:
    owner: dict[str, GroupSettings] = {}
    for group in settings.consistency_groups.values():
        yield from _known(settings, ("consistency_groups", group.name), group.sources)
        for index, name in enumerate(group.sources):
            at = ("consistency_groups", group.name, "sources", index)
            if name in owner:
                yield Problem(at, f"source {name!r} is in group {owner[name].name!r} already")
            owner.setdefault(name, group)


def _known(settings: Settings, at: tuple[str, ...], names: tuple[str, ...]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name not in settings.sources:
            yield Problem((*at, "sources", index), f"unknown source {name!r}; {suggestion(name, settings.sources)}")
