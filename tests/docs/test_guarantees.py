"""Each promise of docs/guarantees.md names tests that there are."""

import ast
import re

from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.compile(r"^- `(tests/[a-z_/]+\.py)::(\w+)`$", re.M)
WITHOUT_TESTS = {"What is not promised at all"}


def sections() -> dict[str, str]:
    titles = re.split(r"^## (.+)$", PAGE, flags=re.M)[1:]
    return dict(zip(titles[::2], titles[1::2], strict=True))


def test_every_promise_names_tests() -> None:
    assert len(sections()) > 10
    assert {title for title, text in sections().items() if not NAMED.search(text)} == WITHOUT_TESTS


def test_every_named_test_is_there() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) == PAGE.count("::")  # none is written in another way
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert missing == []


def names_in(path: str) -> set[str]:
    file = ROOT / path
    if not file.is_file():
        return set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
