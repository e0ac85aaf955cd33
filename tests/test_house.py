"""The rules of the house, applied to every file; each is also tried on a bad example, so that it can fail."""

import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import house

ROOT = Path(__file__).parents[1]
Rule = Callable[[str, str], list[str]]


def files(*patterns: str) -> Iterator[tuple[str, str]]:
    """Yield text and path of every matching file, the path relative to the repository."""
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()


def complaints(rule: Rule, *patterns: str) -> list[str]:
    return [complaint for text, path in files(*patterns) for complaint in rule(text, path)]


@pytest.mark.parametrize(
    "rule",
    [
        house.layer_complaints,
        house.print_complaints,
        house.environment_complaints,
        house.storage_complaints,
        house.docstring_complaints,
        house.code_complaints,
    ],
    ids=lambda rule: rule.__name__,
)
def test_package(rule: Rule) -> None:
    assert complaints(rule, "differ/**/*.py") == []


def test_no_bypass_of_the_storage_is_listed_in_vain() -> None:
    texts = {path: text for text, path in files("differ/**/*.py")}
    assert [path for path in house.BYPASSES if not house.is_bypassed(texts.get(path, ""))] == []


def test_names_and_lengths() -> None:
    assert complaints(house.file_complaints, *(f"{top}/**/*.py" for top in CODE)) == []


def test_words() -> None:
    patterns = (f"{top}/**/*.{end}" for top in (*CODE, "docs") for end in ("py", "md", "yaml", "html", "js"))
    assert complaints(house.word_complaints, *patterns, "*.md", "*.yaml", "Makefile") == []


def test_lock() -> None:
    assert complaints(house.lock_complaints, "requirements.lock", "requirements-audit.lock") == []


@pytest.mark.slow
def test_wheel_holds_only_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("differ_cdc-*-py3-none-*.whl")  # for this platform where it was compiled
    names = zipfile.ZipFile(wheel).namelist()
    assert house.wheel_complaints(names) == []
    sources = {path for _, path in files("differ/**/*.py")}
    assert sources - set(names) == set()


CODE = ("differ", "iterators", "tests", "benchmarks")

BAD: list[tuple[Rule, str, str]] = [
    (house.layer_complaints, "differ/model.py", "import differ.relay"),
    (house.layer_complaints, "differ/model.py", "from differ import relay"),
    (house.layer_complaints, "differ/model.py", "import differ"),
    (house.layer_complaints, "differ/model.py", "from . import relay"),
    (house.layer_complaints, "differ/records/rows.py", "from ..relay import segment"),
    (house.layer_complaints, "differ/records/__init__.py", "from ..relay import segment"),
    (house.layer_complaints, "differ/records/rows.py", "def late():\n    from differ.relay import segment"),
    (house.layer_complaints, "differ/records/rows.py", "if TYPE_CHECKING:\n    import differ.relay.segment"),
    (house.layer_complaints, "differ/records/rows.py", "importlib.import_module('differ.relay')"),
    (house.layer_complaints, "differ/client/consumer.py", "from differ.catalog import Catalog"),
    (house.layer_complaints, "differ/stuff.py", ""),
    (house.print_complaints, "differ/relay/segment.py", "print('hello')"),
    (house.print_complaints, "differ/relay/segment.py", "import click\nclick.echo('hello')"),
    (house.print_complaints, "differ/relay/segment.py", "import sys\nsys.stdout.write('hello')"),
    (house.environment_complaints, "differ/relay/segment.py", "import os\nos.environ['HOME']"),
    (house.environment_complaints, "differ/relay/segment.py", "import os\nos.getenv('HOME')"),
    (house.environment_complaints, "differ/relay/segment.py", "from os import environ"),
    (house.storage_complaints, "differ/relay/segment.py", "import os\nos.rename(a, b)"),
    (house.storage_complaints, "differ/relay/segment.py", "import os\nos.open(path, os.O_WRONLY | os.O_CREAT)"),
    (house.storage_complaints, "differ/relay/segment.py", "import shutil\nshutil.rmtree(folder)"),
    (house.storage_complaints, "differ/relay/segment.py", "open(path, 'wb')"),
    (house.storage_complaints, "differ/relay/segment.py", "path.open(mode='a+')"),
    (house.storage_complaints, "differ/relay/segment.py", "(folder / name).write_text('hello')"),
    (house.storage_complaints, "differ/relay/segment.py", "path.unlink(missing_ok=True)"),
    (house.storage_complaints, "differ/relay/segment.py", "path.replace(target)"),
    (house.storage_complaints, "differ/relay/segment.py", "pa.OSFile(str(path), mode='wb')"),
    (house.docstring_complaints, "differ/model.py", "x = 1"),
    (house.docstring_complaints, "differ/model.py", '"""Doc."""\ndef public(): ...'),
    (house.docstring_complaints, "differ/model.py", '"""Doc."""\nclass Public: ...'),
    *(
        (house.code_complaints, "differ/relay/segment.py", text)
        for text in (
            "import pickle",
            "from marshal import loads",
            "import importlib\nimportlib.import_module('dill')",
            "eval('1')",
            "exec(text)",
            "compile(text, 'x', 'exec')",
            "import os\nos.system('ls')",
            "import subprocess\nsubprocess.run('ls', shell=True)",
            "import subprocess\nsubprocess.run('ls', shell=chosen)",
            "import yaml\nyaml.load(text, Loader=yaml.Loader)",
            "import pandas as pd\npd.read_pickle('x')",
            "import numpy as np\nnp.load('x', allow_pickle=True)",
            "x = 1  # noqa: " + "S602",
        )
    ),
    (house.file_complaints, "differ/relay/utils.py", ""),
    (house.file_complaints, "differ/common/relay.py", ""),
    (house.file_complaints, "differ/relay/segment.py", "x = 1\n" * (house.LINES_MAX + 1)),
    (house.word_complaints, "README.md", "# TO" + "DO: say more"),
    (house.word_complaints, "README.md", "pip install " + "differ"),
    (house.word_complaints, "README.md", "pip install " + "-U 'differ[mariadb]'"),
    (house.lock_complaints, "requirements.lock", "--index-url https://example.org/simple"),
    (house.lock_complaints, "requirements.lock", "    # from https://example.org/simple"),
    (house.lock_complaints, "requirements.lock", "six @ file:///somewhere/six.whl"),
    (house.lock_complaints, "requirements.lock", "six==1.17.0"),
]

GOOD: list[tuple[Rule, str, str]] = [
    (house.layer_complaints, "differ/relay/segment.py", "from differ.model import Event\nfrom . import read"),
    (house.layer_complaints, "differ/relay/segment.py", "from differ import __version__"),
    (house.layer_complaints, "differ/relay/segment.py", "from differ.relay.read import read\nimport os"),
    (house.layer_complaints, "differ/client/consumer.py", "from differ.formats import frames"),
    (house.layer_complaints, "differ/cli/scan.py", "import differ\nfrom differ import open"),
    (house.layer_complaints, "differ/__init__.py", "from differ.project import open"),
    (house.print_complaints, "differ/cli/status.py", "print('hello')"),
    (house.print_complaints, "differ/relay/segment.py", "fingerprint('hello')"),
    (house.environment_complaints, "differ/config/source.py", "import os\nos.environ['HOME']"),
    (house.storage_complaints, "differ/relay/segment.py", "path.open('rb')\nopen(path)\n'a'.replace('a', 'b')"),
    (house.storage_complaints, "differ/storage/files.py", "path.unlink()"),
    (house.docstring_complaints, "differ/model.py", '"""Doc."""\ndef _private(): ...'),
    (house.code_complaints, "differ/x.py", "import re\nre.compile('x')\nyaml.safe_load(x)\nrun(x, shell=False)"),
    (house.file_complaints, "differ/relay/segment.py", "x = 1\n" * house.LINES_MAX),
    (house.word_complaints, "README.md", "pip install " + "'differ-cdc[mariadb]'"),
    (house.word_complaints, "README.md", "pip install differential"),
    (
        house.lock_complaints,
        "requirements.lock",
        "# made by:\nsix==1.17.0 \\\n    # via differ-cdc (pyproject.toml)",
    ),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_rule_complains(rule: Rule, path: str, text: str) -> None:
    assert rule(text, path) != []


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_rule_lets_pass(rule: Rule, path: str, text: str) -> None:
    assert rule(text, path) == []


def test_wheel_rule_complains() -> None:
    assert house.wheel_complaints(["differ/py.typed", "iterators/orders.py"]) != []
    assert house.wheel_complaints(["differ/__init__.py"]) != []
    assert house.wheel_complaints(["differ/py.typed", "differ_cdc-0.1.0.dist-info/METADATA"]) == []
