"""Which class a kind is, and what its options must be: told before anything connects."""

from pathlib import Path
from typing import Any

import pytest

from differ.config import SinkSettings
from differ.errors import ConfigError, DifferError, SinkError
from differ.sinks.contract import SinkContext, StateSink
from differ.sinks.registry import BUILT_IN, make_sink, sink_class

OWN = """
from dataclasses import dataclass
from differ.config.fields import Section
from differ.sinks.contract import EventSink

@dataclass
class Note:
    text: str

class Options(Section):
    path: str

class Notes(EventSink):
    Options = Options

    def publish(self, changes, checkpoint):
        pass

NOT_A_SINK = 3
"""


def sink(project: Path, kind: str, /, **options: Any) -> Any:
    settings = SinkSettings(name="look", kind=kind, sources=("orders",), options=options)
    return make_sink(settings, SinkContext(name="look", sources=("orders",), project=project, state=project / "state"))


@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_every_built_in_sink_can_be_found(kind: str, tmp_path: Path) -> None:
    assert sink_class(kind, tmp_path).Options.model_fields


def test_a_class_of_the_project(tmp_path: Path) -> None:
    file = tmp_path / "sinks" / "notes.py"
    file.parent.mkdir()
    file.write_text(OWN)
    made = sink(tmp_path, "sinks/notes.py:Notes", path="x")
    assert made.options.path == "x"
    assert not list(tmp_path.rglob("__pycache__"))
    file.write_text(OWN.replace("path: str", "path: str\n    more: int = 3"))
    assert sink(tmp_path, "sinks/notes.py:Notes", path="x").options.more == 3, "an edit is seen"


def test_a_class_of_an_installed_package(tmp_path: Path) -> None:
    assert issubclass(sink_class("tests.sinks.memory:Memory", tmp_path), StateSink)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("mongo", "", "there is no such sink; did you mean 'mongodb'?"),
        ("notes.py:Note", OWN, "it is no sink"),
        ("notes.py:NOT_A_SINK", OWN, "it is no sink"),
        ("notes.py:Nots", OWN, "notes.py has no 'Nots'; did you mean 'Notes'?"),
        ("notes.py:Notes", "x = (\n", "notes.py:1: SyntaxError"),
        ("notes.py:Notes", "x = 1\nimport nowhere_to_be_found\n", "notes.py:2: ModuleNotFoundError"),
        ("notes.py:Notes", "raise SystemExit(3)\n", "it ends the process"),
        ("missing.py:Notes", OWN, "there is no file"),
        ("no such module:Notes", OWN, "is no module"),
        ("notes.py:1", OWN, "expected file.py:name"),
    ],
)
def test_what_is_wrong_with_a_kind(tmp_path: Path, kind: str, text: str, said: str) -> None:
    (tmp_path / "notes.py").write_text(text)
    with pytest.raises(DifferError) as caught:
        sink(tmp_path, kind)
    assert said in caught.value.message
    assert caught.value.message.startswith("sink look: ")


def test_code_that_everybody_may_write_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "notes.py"
    file.write_text("raise AssertionError('it ran')")
    file.chmod(0o666)
    with pytest.raises(SinkError, match="everybody on this machine may write it"):
        sink(tmp_path, "notes.py:Notes")
    file.chmod(0o644)
    tmp_path.chmod(0o777)
    with pytest.raises(SinkError, match="everybody on this machine may write it"):
        sink(tmp_path, "notes.py:Notes")


@pytest.mark.parametrize("form", ["../notes.py:Notes", "{above}/notes.py:Notes", "link.py:Notes"])
def test_code_outside_of_the_project_is_not_run(tmp_path: Path, form: str) -> None:
    (tmp_path / "notes.py").write_text("raise AssertionError('it ran')")
    project = tmp_path / "project"
    project.mkdir()
    (project / "link.py").symlink_to(tmp_path / "notes.py")
    with pytest.raises(ConfigError, match="outside of the project"):
        sink(project, form.format(above=tmp_path))


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("console", {"formt": "text"}, "options.formt: unknown key; did you mean 'format'?"),
        ("console", {"format": "xml"}, "options.format: expected 'text' or 'ndjson'"),
        ("sql", {}, "options.url: is required"),
        ("sql", {"url": "nothing"}, "options.url: it is no database URL"),
        ("sql", {"url": "nodb://x/y"}, "no SQLAlchemy dialect is installed for 'nodb'"),
        ("sql", {"url": "postgresql+asyncpg://x/y"}, "options.url"),
        ("sql", {"url": "sqlite://"}, "a destination outlives a process"),
        ("files", {"folder": "x", "format": "csv"}, "options.format: expected 'parquet' or 'ndjson'"),
    ],
)
def test_what_is_wrong_with_options(tmp_path: Path, kind: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sink(tmp_path, kind, **options)
    assert said in caught.value.message
    assert caught.value.message.startswith("sink look: ")


def test_two_sources_are_not_written_to_one_table(tmp_path: Path) -> None:
    settings = SinkSettings(
        name="look", kind="sql", sources=("orders", "items"), options={"url": "sqlite:///x.db", "table": "all"}
    )
    context = SinkContext(name="look", sources=settings.sources, project=tmp_path, state=tmp_path)
    with pytest.raises(ConfigError, match="records with equal keys would overwrite each other"):
        make_sink(settings, context)
