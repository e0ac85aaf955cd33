"""A project from the text of its scheduler.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

import differ.errors
from differ.config import Settings, load
from differ.errors import ConfigError


class Loading(Protocol):
    """Text and variables -> settings."""

    def __call__(self, text: str, **environ: str) -> Settings: ...


class Refusing(Protocol):
    """Text and variables -> the message of the error."""

    def __call__(self, text: str, **environ: str) -> str: ...


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differ.errors, "_secrets", set())


@pytest.fixture
def loading(tmp_path: Path) -> Loading:
    """Load a project with this scheduler.yaml and these environment variables."""

    def load_text(text: str, **environ: str) -> Settings:
        return loaded(tmp_path, text, environ)

    return load_text


@pytest.fixture
def refused(tmp_path: Path) -> Refusing:
    """The message of the ConfigError that loading must end with."""

    def message(text: str, **environ: str) -> str:
        with pytest.raises(ConfigError) as caught:
            loaded(tmp_path, text, environ)
        assert caught.value.hint
        assert caught.value.exit_code == 2
        return caught.value.message

    return message


def loaded(folder: Path, text: str, environ: Mapping[str, str]) -> Settings:
    (folder / "scheduler.yaml").write_text(text, encoding="utf-8")
    return load(folder, environ=environ)
