"""docs/sinks.md and the code: the options of every built-in sink, as they are."""

from pathlib import Path

from differ.config import FilterSettings, HookSettings, MappingRules
from differ.sinks.reference import documented, main, with_options
from differ.sinks.registry import BUILT_IN
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "sinks.md"


def test_the_options_are_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_options(text), "run 'make docs'"


def test_every_kind_is_there() -> None:
    assert documented(PAGE.read_text(encoding="utf-8")) == set(BUILT_IN)


def test_a_table_that_is_old_is_renewed(tmp_path: Path) -> None:
    page = tmp_path / "sinks.md"
    page.write_text("before\n<!-- options of console -->\nold\n<!-- end of options -->\nafter\n")
    assert main([str(page)]) == 0
    renewed = page.read_text()
    assert "| `format` |" in renewed
    assert "old" not in renewed
    assert renewed.startswith("before\n")
    assert renewed.endswith("after\n")


def test_every_rule_of_the_mapping_is_told() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in (*MappingRules.model_fields, *FilterSettings.model_fields, *HookSettings.model_fields):
        assert f"`{name}`" in text or f"{name}:" in text, name
