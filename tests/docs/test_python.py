"""The page of the Python API is run from its first block to its last, and names all that is public."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from differ.cycle.procedure import RunOptions
from differ.formats.registry import FORMATS
from differ.model import ChangeEvent, CycleResult, CycleStatus
from differ.project import Project
from tests.docs.markdown import ROOT, blocks
from tests.docs.programs import run_programs

PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")


def public(kind: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind) if not name.startswith("_")]


def code_words() -> set[str]:
    """Every word that stands in code on the page."""
    prose = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S))
    return {word for code in prose for word in re.findall(r"\w[\w-]*", code)}


def test_every_block_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    programs, shown = [], []
    for block in blocks(PAGE):
        language, _, role = block.kind.partition(" ")
        if role.startswith("file="):
            (tmp_path / role.removeprefix("file=")).write_text(block.body)
        elif role == "run":
            programs.append(block.body)
            shown.append("")
        else:
            assert (language, role) == ("text", "output"), block.kind
            shown[-1] = block.body
    assert len(programs) > 5
    run_programs(tmp_path, programs, shown)


@pytest.mark.parametrize("kind", [Project, CycleResult, RunOptions])
def test_everything_public_is_named(kind: type) -> None:
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    wanted = {*public(kind), *fields}
    assert len(wanted) >= 5
    assert wanted - code_words() == set()


def test_every_field_of_an_event_is_named() -> None:
    table = PAGE.split("| field of `ChangeEvent` |")[1].split("\n\n")[0]
    assert {field.name for field in dataclasses.fields(ChangeEvent)} - set(re.findall(r"`(\w+)`", table)) == set()


def test_every_method_has_its_signature_right() -> None:
    """Where the page shows a method's parameters, the method has them."""
    for name, arguments in re.findall(r"`(\w+)\(([^)`]*)\)`", PAGE):
        if not hasattr(Project, name) or "." in arguments:
            continue
        known = inspect.signature(getattr(Project, name)).parameters
        for argument in filter(None, arguments.split(", ")):
            parameter, _, default = argument.partition("=")
            assert parameter in known, f"{name}: {parameter}"
            if default:
                assert repr(known[parameter].default) == default, argument


def test_every_status_and_format_is_named() -> None:
    assert [status for status in get_args(CycleStatus) if f'| `"{status}"` |' not in PAGE] == []
    assert [name for name in FORMATS if f"`{name}`" not in PAGE] == []
