"""The README is run from its first line to its last: each command, each file, each program; and what they print."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Block, blocks
from tests.servers.ports import free_port

PORT = free_port()
"""In place of the relay's own, which somebody may use on this machine."""
README = (ROOT / "README.md").read_text(encoding="utf-8").replace("7070", str(PORT))


class Reader:
    """Somebody who does what the README says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if name not in ("MONGO_URL", "NO_COLOR")}
        self.background: list[subprocess.Popen[bytes]] = []
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.environment['PATH']}"

    def run(self, command: str) -> str:
        """Run a line in a shell, stay where it leads, return what it printed."""
        told = self.folder / ".where"
        done = subprocess.run(
            ["bash", "-ec", f"{command}\npwd > {told}"],
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        self.folder = Path(told.read_text().strip())
        told.unlink()
        return done.stdout

    def end(self) -> None:
        """Stop what runs in the background; it must end well."""
        for process in self.background:
            process.terminate()
        assert [process.wait(60) for process in self.background] == [0] * len(self.background)

    def console(self, block: Block) -> None:
        for step in re.split(r"^\$ ", block.body, flags=re.M)[1:]:
            command, _, expected = step.partition("\n")
            if command.endswith("&"):
                line = ["bash", "-ec", f"exec {command.removesuffix('&')}"]
                self.background.append(subprocess.Popen(line, cwd=self.folder, env=self.environment))
                continue
            assert_shown(self.run(command), expected, command)


def assert_shown(printed: str, expected: str, command: str) -> None:
    """Every line that is shown was printed, in this order; `...` stands for any others. Times may differ."""
    wanted = [normal(line) for line in expected.splitlines()]
    got = [normal(line) for line in printed.splitlines()]
    if "..." not in wanted:
        assert got == wanted, command
        return
    at = 0
    skipping = False
    for line in wanted:
        if line == "...":
            skipping = True
            continue
        assert line in got[at:], f"{command}: {line!r} was not printed; it printed\n{printed}"
        found = got.index(line, at)
        assert skipping or found == at, f"{command}: something was printed before {line!r}"
        at, skipping = found + 1, False
    assert skipping or at == len(got), f"{command}: more was printed"


def normal(line: str) -> str:
    return re.sub(r"\d+\.\d+ s$", "N s", line.rstrip())


@pytest.mark.timeout(400)
def test_every_block_works(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        seen = follow(reader)
    finally:
        reader.end()
    assert seen.count("console") >= 3
    assert {"yaml", "python"} <= set(seen)
    assert reader.background


def follow(reader: Reader) -> list[str]:
    """Do everything; the kinds of the blocks."""
    seen = []
    for block in blocks(README):
        seen.append(block.kind)
        if block.kind == "console":
            reader.console(block)
        elif block.kind == "yaml" and block.body.startswith("version:"):
            (reader.folder / "scheduler.yaml").write_text(f"{block.body}relay: {{listen: '127.0.0.1:{PORT}'}}\n")
        elif block.kind == "yaml":
            # A source to put beside the others.
            check = reader.folder / "check"
            check.mkdir()
            (check / "scheduler.yaml").write_text(f"version: 1\nsources:\n{block.body}")
            reader.run(f"SHOP_URL=sqlite:///shop.db differ --project {check} config check")
        elif block.kind == "python" and "Consumer" in block.body:
            (reader.folder / "shelf.py").write_text(block.body)
        elif block.kind == "python":
            program = reader.folder / "program.py"
            program.write_text(block.body)
            printed = reader.run(f"{sys.executable} {program}")
            assert "update {'sku': 'TEA'} ('price',)" in printed
            assert "POT" in printed
        else:
            assert block.kind in ("", "sh")
    return seen


def test_what_is_to_be_installed_is_this_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (block,) = [block for block in blocks(README) if block.kind == "sh"]
    assert block.body == f"pip install {project['name']}\n"
    named = set(re.findall(rf"{project['name']}\[(\w+)\]", README))
    assert named == set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("printed", "expected", "fits"),
    [
        ("a\nb\nc\n", "a\nb\nc\n", True),
        ("a\nb\nc\n", "a\n...\nc\n", True),
        ("a\nb\nc\n", "...\n", True),
        ("took 0.31 s\n", "took 0.04 s\n", True),
        ("a\nb\nc\n", "a\nc\n", False),
        ("a\nb\nc\n", "a\n...\nd\n", False),
        ("a\nb\nc\n", "...\nc\n...\nb\n", False),
        ("a\nb\nc\n", "b\n...\n", False),
        ("a\nb\n", "...\na\n", False),
    ],
)
def test_the_comparison_can_fail(printed: str, expected: str, fits: bool) -> None:
    if fits:
        assert_shown(printed, expected, "command")
        return
    with pytest.raises(AssertionError):
        assert_shown(printed, expected, "command")
