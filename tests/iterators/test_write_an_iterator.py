"""The tutorial: its files are written, its settings used, and its code run, from the page itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from differ.iterators.discovery import find_iterator, list_iterators
from differ.testing import check_iterator

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "write-an-iterator.md"
BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<role>[^\n]*))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The tutorial's project, as its blocks describe it."""
    for block in BLOCK.finditer(PAGE.read_text()):
        role = block["role"] or ""
        if role.startswith("file="):
            file = tmp_path / role.removeprefix("file=")
            file.parent.mkdir(mode=0o755, exist_ok=True)
            file.write_text(block["text"])
    return tmp_path


def blocks(role: str) -> list[str]:
    return [block["text"] for block in BLOCK.finditer(PAGE.read_text()) if block["role"] == role]


def test_the_source_of_the_page_conforms(project: Path) -> None:
    (settings,) = blocks("source")
    for source in yaml.safe_load(settings)["sources"].values():
        spec = find_iterator(source["iterator"], project)
        report = check_iterator(spec, source["options"], project=project)
        assert report.passed, str(report)
        assert report["reads"].detail == "2 rows"


def test_every_file_of_the_page_is_found(project: Path) -> None:
    found = {one.name: one.error for one in list_iterators(project) if one.where.startswith(str(project))}
    assert found == {"orders": None, "parts": None}


@pytest.mark.parametrize("number", range(len(blocks("run"))))
def test_code_of_the_page_runs(project: Path, number: int) -> None:
    (project / "test_page.py").write_text(blocks("run")[number])
    subprocess.run([sys.executable, "test_page.py"], cwd=project, check=True, timeout=60)
    if "class Test" in blocks("run")[number]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"],
            cwd=project, check=False, timeout=60, capture_output=True, text=True,
        )  # fmt: skip
        assert "11 passed" in done.stdout, done.stdout


def test_every_method_of_the_contract_is_told() -> None:
    text = PAGE.read_text()
    for name in ("schema", "splits", "read", "lookup", "position", "close", "store", "connect"):
        assert f"`{name}(" in text
    for name in ("options", "project", "key", "batch_rows", "columns_excluded", "previous", "handle", "logger"):
        assert f"`{name}`" in text
