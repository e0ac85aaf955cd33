"""docs/configuration.md says what the code does."""

from pathlib import Path

import pytest

from differ import config
from differ.config import reference_markdown
from differ.config.document import parse_document
from differ.config.fields import Section
from differ.config.reference import main

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_markdown(), "run 'make docs'"


def test_the_generator_writes_the_page(tmp_path: Path) -> None:
    assert main([str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == reference_markdown()


def rows() -> list[list[str]]:
    """The cells of every key's row: key, type, default, meaning, example."""
    lines = reference_markdown().split("\n## The file\n")[1].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]


def test_every_key_has_a_type_a_meaning_and_an_example() -> None:
    assert len(rows()) > 50
    for row in rows():
        assert len(row) == 5, row
        assert all((row[0], row[1], row[3], row[4])), row


NEEDED: dict[str, dict[str, object]] = {
    "SourceSettings": {"iterator": "sql"},
    "GroupSettings": {"sources": ["orders"]},
    "SinkSettings": {"kind": "elasticsearch", "sources": ["orders"]},
    "ScheduleSettings": {"every": "5m"},
    "Settings": {"(project)": Path("/project")},
}
SECTIONS = [getattr(config, name) for name in config.__all__ if name.endswith(("Settings", "Guard"))]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_example_is_valid(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        key = field.alias or name
        for example in field.examples or ():
            needed = {} if key == "cron" else NEEDED.get(section.__name__, {})
            value = parse_document(f"example: {example}").value["example"]
            section.model_validate(needed | {key: value}, by_alias=True, by_name=False)
