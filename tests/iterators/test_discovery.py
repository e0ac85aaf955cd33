"""Finding iterators by name: in which order, what is refused, and that one broken file harms nobody else."""

import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from differ.errors import IteratorError, UsageError
from differ.iterators import Context, discovery
from differ.iterators.discovery import find_iterator, list_iterators

ORDERS = """
from differ.iterators import Context, iterator

@iterator(key="id")
def orders(ctx: Context):
    yield [{"id": VALUE}]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "shop")


def make_project(folder: Path) -> Path:
    (folder / "iterators").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "iterators").chmod(0o755)
    return folder


def write(project: Path, name: str, text: str) -> Path:
    file = project / "iterators" / f"{name}.py"
    file.write_text(text)
    file.chmod(0o644)
    return file


def read(project: Path, name: str) -> list[object]:
    reader = find_iterator(name, project).open(Context(source="s", options={}))
    return [row for split in reader.splits() for batch in reader.read(split) for row in batch]


def test_a_file_is_found_by_its_stem(project: Path) -> None:
    write(project, "orders", ORDERS.replace("VALUE", "1"))
    assert find_iterator("orders", project).key == ("id",)
    assert read(project, "orders") == [{"id": 1}]


def test_the_only_marked_target_is_found_by_stem_and_by_name(project: Path) -> None:
    write(project, "shop", ORDERS.replace("VALUE", "1"))
    assert read(project, "shop") == read(project, "orders") == [{"id": 1}]


def test_a_file_may_mark_several(project: Path) -> None:
    several = ORDERS.replace("VALUE", "1") + ORDERS.replace("VALUE", "2").replace('key="id"', 'key="id", name="two"')
    write(project, "shop", several.replace("def orders", "def a", 1))
    assert (read(project, "a"), read(project, "two")) == ([{"id": 1}], [{"id": 2}])
    with pytest.raises(IteratorError, match=r"marks 'a', 'two', and none of them is 'shop'"):
        find_iterator("shop", project)


def test_a_class_that_inherits_a_mark_is_not_marked_itself(project: Path) -> None:
    write(
        project,
        "orders",
        "from differ.iterators import iterator\n"
        "@iterator(name='orders')\nclass A:\n  def __init__(self, ctx): pass\n  def read(self, split): yield []\n"
        "class B(A): pass\n",
    )
    assert find_iterator("orders", project).target.__name__ == "A"


def test_a_decorator_above_the_mark_is_kept(project: Path) -> None:
    write(
        project,
        "orders",
        "import functools\nfrom differ.iterators import iterator\n"
        "def twice(f):\n"
        "    @functools.wraps(f)\n    def g(ctx):\n        yield from f(ctx)\n        yield from f(ctx)\n    return g\n"
        "@twice\n@iterator\ndef orders(ctx):\n    yield [{'id': 1}]\n",
    )
    assert read(project, "orders") == [{"id": 1}, {"id": 1}]


def test_files_import_each_other_and_what_they_share(project: Path) -> None:
    write(project, "_shared", "VALUE = 7\n")
    write(project, "orders", "from ._shared import VALUE\n" + ORDERS)
    write(
        project,
        "view",
        "from .orders import orders\n" + ORDERS.replace("def orders", "def view").replace("VALUE", "8"),
    )
    assert (read(project, "orders"), read(project, "view")) == ([{"id": 7}], [{"id": 8}])
    assert {found.name for found in list_iterators(project)} >= {"orders", "view"}
    assert all(found.error is None for found in list_iterators(project) if found.name in {"orders", "view"})


def test_dataclasses_and_pickles_find_their_module(project: Path) -> None:
    write(
        project,
        "orders",
        "from __future__ import annotations\nimport pickle\nfrom dataclasses import dataclass, KW_ONLY\n"
        "@dataclass\nclass Row:\n    id: int\n    _: KW_ONLY\n    n: int = 0\n"
        + ORDERS.replace("VALUE", "pickle.loads(pickle.dumps(Row(3))).id"),
    )
    assert read(project, "orders") == [{"id": 3}]


def test_projects_of_one_process_do_not_mix(tmp_path: Path) -> None:
    shops = [make_project(tmp_path / name) for name in ("a", "b")]
    for value, shop in enumerate(shops):
        write(shop, "_shared", f"VALUE = {value}\n")
        late = ORDERS.replace("    yield", "    from ._shared import VALUE\n    yield")
        write(shop, "orders", late)
    assert [read(shop, "orders") for shop in (*shops, *shops)] == [[{"id": 0}], [{"id": 1}]] * 2


def test_an_edited_file_is_seen_and_an_unchanged_one_runs_once(project: Path) -> None:
    write(project, "_shared", "VALUE = 1\n")
    write(project, "orders", "from ._shared import VALUE\n" + ORDERS)
    first = find_iterator("orders", project).target
    assert find_iterator("orders", project).target is first
    write(project, "_shared", "VALUE = 2\n")  # The same size, within the same second.
    assert read(project, "orders") == [{"id": 2}]
    assert not list(project.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("text", "line", "cause", "hint"),
    [
        ("x = 1\ndef broken(:\n", 2, "SyntaxError", "correct the file"),
        (
            "\n\nimport no_such_package_xyz\n",
            3,
            "No module named 'no_such_package_xyz'",
            "install the package",
        ),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError", "correct the file"),
        ("import sys\nsys.exit(3)\n", 2, "ends the process", "correct the file"),
        (
            "from differ.errors import ConfigError\nraise ConfigError('odd', hint='even')\n",
            2,
            "odd",
            "even",
        ),
    ],
)
def test_a_file_that_fails_to_import_names_line_and_cause(
    project: Path, text: str, line: int, cause: str, hint: str
) -> None:
    file = write(project, "broken", text)
    write(project, "orders", ORDERS.replace("VALUE", "1"))
    with pytest.raises(IteratorError) as caught:
        find_iterator("broken", project)
    assert f"load {file.resolve()}:{line}: " in caught.value.message
    assert cause in caught.value.message
    assert hint in str(caught.value.hint)
    assert read(project, "orders") == [{"id": 1}]
    found = {one.name: one for one in list_iterators(project)}
    assert found["broken"].error is not None
    assert found["orders"].spec is not None


def test_a_broken_neighbour_is_named_when_a_name_is_unknown(project: Path) -> None:
    write(project, "broken", "1/0\n")
    write(project, "orders", ORDERS.replace("VALUE", "1"))
    with pytest.raises(UsageError) as caught:
        find_iterator("ordrs", project)
    message = caught.value.message
    assert "sql, mongodb, files" in message
    assert str(project / "iterators") in message
    assert "broken.py:1" in message
    assert "did you mean 'orders'?" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["sql", "files"])
def test_a_built_in_name_cannot_be_taken(project: Path, name: str) -> None:
    write(project, name, ORDERS.replace("VALUE", "1"))
    with pytest.raises(IteratorError, match="built-in"):
        find_iterator(name, project)
    write(project, "other", ORDERS.replace("VALUE", "1").replace('key="id"', f'name="{name}"'))
    with pytest.raises(IteratorError, match="built-in"):
        find_iterator("other", project)


def test_two_files_with_one_name_are_refused(project: Path) -> None:
    for stem in ("a", "b"):
        write(project, stem, ORDERS.replace("VALUE", "1"))
    with pytest.raises(IteratorError, match="marked in both"):
        find_iterator("orders", project)
    assert any("is marked in" in str(found.error) for found in list_iterators(project))


def test_a_file_that_marks_nothing_says_so(project: Path) -> None:
    write(project, "orders", "def orders(ctx): yield []\n")
    with pytest.raises(IteratorError, match="nothing in it is marked"):
        find_iterator("orders", project)


@pytest.mark.parametrize("what", ["iterators", "iterators/orders.py", "iterators/_shared.py"])
def test_what_everybody_may_write_is_not_run(project: Path, what: str) -> None:
    mark = project / "ran"
    write(project, "_shared", "")
    write(project, "orders", f"open({str(mark)!r}, 'w')\n" + ORDERS)
    os.chmod(project / what, (project / what).stat().st_mode | 0o002)
    with pytest.raises(IteratorError, match="chmod o-w"):
        find_iterator("orders", project)
    assert not mark.exists()


def test_entry_points_come_last(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("differ_test_package")
    exec(ORDERS.replace("VALUE", "9"), module.__dict__)
    monkeypatch.setitem(sys.modules, "differ_test_package", module)
    points = [
        EntryPoint("orders", "differ_test_package:orders", discovery.GROUP),
        EntryPoint("far", "differ_test_package:orders", discovery.GROUP),
        EntryPoint("gone", "differ_no_such_package:orders", discovery.GROUP),
        EntryPoint("odd", "differ_test_package:iterator", discovery.GROUP),
    ]
    monkeypatch.setattr(
        discovery, "entry_points", lambda group, name=None: [p for p in points if name in (None, p.name)]
    )
    write(project, "orders", ORDERS.replace("VALUE", "1"))
    assert (read(project, "orders"), read(project, "far")) == ([{"id": 1}], [{"id": 9}])
    for name in ("gone", "odd"):
        with pytest.raises(IteratorError, match=f"load entry point differ_.*{'marked' if name == 'odd' else ''}"):
            find_iterator(name, project)
    errors = {found.name for found in list_iterators(project) if found.error and found.where.startswith("entry")}
    assert errors == {"orders", "gone", "odd"}


def test_no_folder_is_no_iterator(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no iterator"):
        find_iterator("orders", tmp_path)
