"""Find a project and load its scheduler.yaml: read -> resolve references -> validate -> check -> frozen
settings.

The only module of differ that reads the environment.
Invariant: a file either gives complete settings or one ConfigError that tells all that is wrong; nothing is
guessed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from differ.config.checks import MASK_KEY, check
from differ.config.document import read_document
from differ.config.problems import Problem, config_error, from_validation
from differ.config.references import resolve
from differ.config.settings import Settings
from differ.errors import ConfigError, register_secret

FILE_NAME = "scheduler.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What differ itself takes from the environment, besides the references in the file."""

    mask_key: str | None = field(repr=False)
    mongo_url: str | None = field(repr=False, default=None)
    """Only `differ init --demo` asks for it."""


def environment(environ: Mapping[str, str] | None = None) -> Environment:
    """Read differ's own variables, from `environ` or the process; the secrets among them are registered."""
    variables = os.environ if environ is None else environ
    mask_key = variables.get(MASK_KEY) or None
    if mask_key:
        register_secret(mask_key)
    return Environment(mask_key=mask_key, mongo_url=variables.get("MONGO_URL") or None)


def find_project(start: Path) -> Path:
    """The nearest folder at or above `start` that holds a scheduler.yaml, absolute; else ConfigError."""
    folder = start.absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate
    raise ConfigError(
        f"find project: no {FILE_NAME} in {folder} or any folder above",
        hint="run 'differ init DIR' to make a project, or name one with --project DIR",
    )


def load(project: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings of a project folder (default: found from the working directory).

    environ: what references are resolved from, instead of the process's environment.
    Raises ConfigError, which names file, line and key of all that is wrong. Secrets are registered for
    `redact`.
    """
    folder = find_project(Path.cwd()) if project is None else Path(project).absolute()
    if not (folder / FILE_NAME).is_file():
        raise ConfigError(
            f"load project: {folder} holds no {FILE_NAME}",
            hint="run 'differ init DIR' to make a project, or name another with --project DIR",
        )
    document = read_document(folder / FILE_NAME)
    variables = os.environ if environ is None else environ
    values, problems = resolve(document, environ=variables, project=folder)
    if problems:
        raise config_error(document, [*problems, *_more_problems(values, folder, problems)])
    try:
        settings = Settings.model_validate(
            values | {"(project)": folder}, by_alias=True, by_name=False, context={"project": folder}
        )
    except ValidationError as cause:
        raise config_error(document, from_validation(Settings, cause)) from None
    settings = _with_mask_key(settings, environment(variables).mask_key)
    if problems := check(settings):
        raise config_error(document, problems)
    settings._raw = document.value
    return settings


def _more_problems(values: dict[str, Any], folder: Path, known: Sequence[Problem]) -> list[Problem]:
    """What is wrong besides references that could not be resolved, so that a person is told all at once."""
    try:
        Settings.model_validate(
            values | {"(project)": folder}, by_alias=True, by_name=False, context={"project": folder}
        )
    except ValidationError as cause:
        paths = {problem.path for problem in known}
        return [problem for problem in from_validation(Settings, cause) if problem.path not in paths]
    return []


def _with_mask_key(settings: Settings, mask_key: str | None) -> Settings:
    """Give the key to the sources that mask with it."""
    sources = {
        name: source.model_copy(update={"mask_key": mask_key}) if "hmac" in source.columns.mask.values() else source
        for name, source in settings.sources.items()
    }
    return settings.model_copy(update={"sources": sources})
