"""`differ init` and `differ iterator`: what they write works, and nothing that is there is ever overwritten."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from differ.cli.main import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _without_mongodb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGO_URL", raising=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_project_is_right_and_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert run(["init", str(folder)]) == 0
    told = capsys.readouterr().out
    assert f"cd {folder}" in told
    assert "differ scan --all" in told
    assert {"scheduler.yaml", "README.md", ".gitignore", "iterators/README.md", "snapshots/.gitignore"} == set(
        contents(folder)
    )
    assert "/.differ/" in (folder / ".gitignore").read_text().splitlines()
    assert run(["--project", str(folder), "config", "check"]) == 0
    assert run(["--project", str(folder), "scan", "--all"]) == 0


def test_the_example_in_a_new_scheduler_yaml_is_valid(tmp_path: Path) -> None:
    """What the comment shows must work once the comment signs are taken away."""
    folder = tmp_path / "new"
    run(["init", str(folder)])
    text = (folder / "scheduler.yaml").read_text()
    head, _, example = text.partition("sources: {}\n")
    lines = [line.removeprefix("#").removeprefix(" ") for line in example.splitlines()[2:]]
    (folder / "scheduler.yaml").write_text(f"{head}sources:\n" + "\n".join(lines) + "\n")
    assert run(["--project", str(folder), "config", "check"]) == 0
    assert [line for line in lines if line.startswith("  orders:")]


@pytest.mark.parametrize("more", [[], ["--demo"]])
def test_nothing_is_overwritten_and_nothing_is_written_then(
    tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert run(["init", str(tmp_path), *more]) == 2
    assert "README.md" in capsys.readouterr().err
    assert contents(tmp_path) == {"README.md": b"mine"}


def test_a_dangling_link_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / "scheduler.yaml").symlink_to(tmp_path / "nowhere")
    assert run(["init", str(tmp_path)]) == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_with_other_files_is_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run(["init", str(tmp_path), "--demo"]) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert run(["init", str(tmp_path), "--demo"]) == 2, "the second time everything is there"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["init", str(tmp_path / "file" / "project")]) == 3
    told = capsys.readouterr().err
    assert "error: init " in told
    assert "hint: " in told


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("mongodb://sam:s3cret-word@127.0.0.1:1/shop", 3, "connection refused"),
        ("mongodb://sam:s3cret-word@", 2, "no URL of a MongoDB server"),
        ("mongodb://sam:s3cret-word@host:port/shop", 2, "no URL of a MongoDB server"),
        ("https://s3cret-word", 2, "no URL of a MongoDB server"),
    ],
)
def test_a_server_that_does_not_answer_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("MONGO_URL", url)
    monkeypatch.setattr("differ.cli.init.ANSWER_MILLISECONDS_MAX", 50)
    assert run(["init", str(tmp_path / "shop"), "--demo"]) == code
    told = capsys.readouterr()
    assert said in told.err.lower() or said in told.err
    assert "s3cret-word" not in told.err + told.out
    assert list(tmp_path.iterdir()) == []


def test_a_shop_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pymongo.errors import OperationFailure

    from differ.cli.scaffold.demo import shop

    def refuse(folder: Path) -> str:
        (folder / "shop.db").write_text("half")
        raise OperationFailure("not authorized on shop", 13)

    monkeypatch.setattr(shop, "create", refuse)
    (tmp_path / "mine").write_text("mine")
    assert run(["init", str(tmp_path), "--demo"]) == 3
    assert "not authorized on shop" in capsys.readouterr().err
    assert contents(tmp_path) == {"mine": b"mine"}
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_the_plugin_is_loaded_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert run(["init", str(tmp_path / "shop"), "--demo"]) == 0
    finally:
        os.umask(before)
    assert run(["--project", str(tmp_path / "shop"), "iterator", "test", "order_view"]) == 0


def test_json_names_the_files(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["init", str(tmp_path / "shop"), "--demo", "--json"]) == 0
    told = json.loads(capsysbinary.readouterr().out)
    assert told["project"] == str(tmp_path / "shop")
    assert set(told["files"]) == set(contents(tmp_path / "shop"))


def test_the_repository_is_the_project_that_the_demo_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One source of truth: the plugin is the same file, and the root's scheduler.yaml watches the same sources."""
    import differ

    shop = tmp_path / "shop"
    run(["init", str(shop), "--demo"])
    plugin = "iterators/order_view.py"
    assert (ROOT / plugin).read_bytes() == (shop / plugin).read_bytes()
    assert (ROOT / "iterators/README.md").read_bytes() == (shop / "iterators/README.md").read_bytes()
    assert (ROOT / "snapshots/.gitignore").read_bytes() == (shop / "snapshots/.gitignore").read_bytes()

    monkeypatch.setenv("SHOP_URL", f"sqlite:///{shop / 'shop.db'}")
    monkeypatch.setenv("SHOP_CUSTOMERS", str(shop / "customers.jsonl"))
    copy = tmp_path / "repository"
    copy.mkdir()
    (copy / "scheduler.yaml").write_bytes((ROOT / "scheduler.yaml").read_bytes())
    (copy / "iterators").symlink_to(ROOT / "iterators")
    with differ.open(copy) as ours, differ.open(shop) as theirs:
        rows = {result.source: (result.status, result.rows) for result in ours.scan_all()}
        assert rows == {result.source: (result.status, result.rows) for result in theirs.scan_all()}
        assert set(rows) == {"products", "orders", "order_items", "customers", "order_view"}


@pytest.mark.slow
def test_the_wheel_alone_makes_the_same_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    script = (
        "import sys, differ; from differ.cli.main import run;"
        f"assert differ.__file__.startswith({str(tmp_path)!r}), differ.__file__;"
        "sys.exit(run(['init', sys.argv[1], '--demo']))"
    )
    made = tmp_path / "from-wheel"
    command = [sys.executable, "-c", script, str(made)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    assert run(["init", str(tmp_path / "from-source"), "--demo"]) == 0
    ours, theirs = contents(tmp_path / "from-source"), contents(made)
    assert set(ours) == set(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} <= {"shop.db"}


@pytest.mark.parametrize("kind", ["sql", "mongodb", "python"])
def test_iterator_new_writes_what_can_be_loaded(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["init", str(tmp_path)])
    capsys.readouterr()
    at = ["--project", str(tmp_path)]
    assert run([*at, "iterator", "new", "prices", "--kind", kind]) == 0
    told = capsys.readouterr().out
    assert str(tmp_path / "iterators/prices.py") in told
    assert "    iterator: prices" in told
    assert run([*at, "iterator", "list"]) == 0
    listed = capsys.readouterr().out
    assert [line for line in listed.splitlines() if line.startswith("prices") and "prices.py" in line]
    assert run([*at, "iterator", "new", "prices"]) == 2, "a file that is there stays as it is"


def test_the_snippet_of_iterator_new_can_be_pasted(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    run(["init", str(tmp_path)])
    capsysbinary.readouterr()
    run(["--project", str(tmp_path), "iterator", "new", "prices", "--json"])
    snippet = json.loads(capsysbinary.readouterr().out)["yaml"]
    (tmp_path / "scheduler.yaml").write_text(f"version: 1\nsources:\n{snippet}")
    (tmp_path / "data.csv").write_text("id,price\n1,2.50\n2,3.00\n")
    assert run(["--project", str(tmp_path), "iterator", "test", "prices"]) == 0
    assert run(["--project", str(tmp_path), "scan", "--source", "prices"]) == 0


def test_iterator_test_names_what_fails_and_ends_with_3(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    run(["init", str(tmp_path)])
    (tmp_path / "iterators/twice.py").write_text(
        "from differ.iterators import iterator\n\n\n"
        "@iterator(key='id')\ndef twice(ctx):\n    yield [{'id': 1}, {'id': 1}]\n"
    )
    (tmp_path / "scheduler.yaml").write_text("version: 1\nsources:\n  a: {iterator: twice}\n  b: {iterator: twice}\n")
    at = ["--project", str(tmp_path)]
    capsysbinary.readouterr()
    assert run([*at, "iterator", "test", "twice", "--source", "a", "--json"]) == 3
    report = json.loads(capsysbinary.readouterr().out)
    assert report["passed"] is False
    assert "fail" in {check["outcome"] for check in report["checks"] if check["name"] == "keys"}
    assert run([*at, "iterator", "test", "twice", "--source", "a"]) == 3
    assert b"fail  keys: " in capsysbinary.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twice"], "these do: a, b"),
        (["sql"], "no source of scheduler.yaml names it"),
        (["twyce"], "did you mean 'twice'"),
        (["twice", "--source", "c"], "c"),
        (["sql", "--source", "a"], "uses the iterator 'twice'"),
    ],
)
def test_iterator_test_asks_for_one_source(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["init", str(tmp_path)])
    (tmp_path / "iterators/twice.py").write_text(
        "from differ.iterators import iterator\n\n\n@iterator(key='id')\ndef twice(ctx):\n    yield []\n"
    )
    (tmp_path / "scheduler.yaml").write_text("version: 1\nsources:\n  a: {iterator: twice}\n  b: {iterator: twice}\n")
    assert run(["--project", str(tmp_path), "iterator", "test", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_iterator_list_tells_why_a_plugin_cannot_be_used(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    run(["init", str(tmp_path)])
    (tmp_path / "iterators/broken.py").write_text("import differ\n\nthis is no python\n")
    capsysbinary.readouterr()
    assert run(["--project", str(tmp_path), "iterator", "list"]) == 0
    told = capsysbinary.readouterr()
    assert b"broken" in told.out
    assert b"broken.py" in told.err
    assert run(["--project", str(tmp_path), "iterator", "list", "--json"]) == 0
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    found = {line["name"]: line for line in lines}
    assert {"sql", "mongodb", "files", "broken"} == set(found)
    assert "error" in found["broken"]
    assert "error" not in found["sql"]
