"""The page of the consumer library is run from its first block to its last, and names all that is public."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from differ.client import Client, Consumer, Events, Next, Pace, Retries
from tests.cycle.conftest import world
from tests.cycle.world import World
from tests.docs.markdown import ROOT, blocks
from tests.docs.programs import run_programs
from tests.server.conftest import serve
from tests.server.relay import Relay

__all__ = ["serve", "world"]

PAGE = (ROOT / "docs/consume.md").read_text(encoding="utf-8")


def code_words() -> set[str]:
    """Every word that stands in code on the page, outside of blocks."""
    prose = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S))
    return {word for code in prose for word in re.findall(r"\w+", code)}


def test_every_block_runs_and_prints_what_is_shown(world: World, serve: Callable[..., Relay], tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    world.source("prices", iterator="files", options={"path": str(prices)}, key="sku")
    for text in ("sku,price\nTEA,6.90\nCUP,34.00\n", "sku,price\nTEA,7.20\nPOT,48.50\n"):
        prices.write_text(text)
        world.commit("prices")
    programs: list[str] = []
    shown: list[str] = []
    for block in blocks(PAGE):
        if block.kind == "python run":
            programs.append(block.body)
            shown.append("")
        elif block.kind == "text output":
            shown[-1] = block.body
    assert len(programs) > 8
    here = serve().url
    run_programs(tmp_path, [body.replace("http://127.0.0.1:7070", here) for body in programs], shown)


@pytest.mark.parametrize("kind", [Client, Consumer, Events, Next, Pace, Retries])
def test_everything_public_is_named(kind: type) -> None:
    wanted = {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
    if dataclasses.is_dataclass(kind):
        wanted |= {field.name for field in dataclasses.fields(kind)}
    if kind is Next:
        wanted = set(Next.__members__)
    assert len(wanted) >= 4
    assert wanted - code_words() == set()


def test_every_parameter_of_run_is_in_the_table() -> None:
    table = PAGE.split("| parameter of `run` |")[1].split("\n\n")[0]
    known = set(inspect.signature(Client.run).parameters) - {"self", "consumer"}
    assert known - set(re.findall(r"`(\w+)`", table)) == set()


@pytest.mark.parametrize("kind", [Retries, Pace])
def test_the_defaults_that_are_shown_are_those_there_are(kind: type) -> None:
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    shown = [pair for call in re.findall(rf"`{kind.__name__}\(([^)]*)\)`", prose) for pair in call.split(", ")]
    assert len(shown) > 1
    for name, _, value in (pair.partition("=") for pair in shown):
        if (name, value) != ("callback_seconds", "60"):
            assert ast.literal_eval(value) == getattr(kind(), name), name
