"""The examples of external sinks on their page are valid settings."""

import re
from pathlib import Path

import pytest
import yaml

from differ.config.sink import SinkSettings
from differ.sinks.contract import SinkContext
from differ.sinks.registry import parse_options, sink_class

PAGE = Path(__file__).parents[2] / "docs" / "sinks.md"
KINDS = ["mongodb", "elasticsearch", "kafka", "nats", "webhook"]


def section(kind: str) -> str:
    """What the page says under the kind's heading."""
    found = re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"docs/sinks.md has no section {kind}"
    return found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_valid(kind: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", section(kind), re.DOTALL)
    assert blocks
    for block in blocks:
        ((name, body),) = yaml.safe_load(block)["sinks"].items()
        settings = SinkSettings.model_validate(body, by_alias=True)
        assert settings.kind == kind
        context = SinkContext(name=name, sources=settings.sources, project=tmp_path, state=tmp_path)
        options = {
            key: "env" if isinstance(value, str) and value.startswith("env:") else value
            for key, value in settings.options.items()
        }
        parse_options(sink_class(kind, tmp_path), options, context)
