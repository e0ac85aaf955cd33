"""The documentation keeps up with the code: generated pages are current, links lead somewhere, nothing is left out."""

import importlib.util
import re
from pathlib import Path

import click
import pytest

from differ import config, errors
from differ.catalog import tables
from differ.cli import reference
from differ.cli.command import Command
from differ.cli.init import make_project
from tests.docs.markdown import ROOT, anchors, blocks, broken_links, pages

DOCS = ROOT / "docs"
MADE = {"docs/cli.md", "docs/errors.md", "docs/configuration.md"}


@pytest.mark.parametrize(
    ("page", "make"),
    [
        ("cli.md", reference.cli_markdown),
        ("errors.md", reference.errors_markdown),
        ("configuration.md", config.reference_markdown),
    ],
)
def test_generated_pages_are_current(page: str, make: object) -> None:
    assert callable(make)
    assert (DOCS / page).read_text(encoding="utf-8") == make(), "run 'make docs'"


def test_make_docs_writes_all_of_them() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.split("\ndocs:")[1].split("\n\n")[0]
    assert "differ.config.reference docs/configuration.md" in recipe
    assert "differ.cli.reference docs" in recipe


def test_every_command_and_option_is_documented() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    commands = reference.all_commands()
    assert len(commands) > 20
    for name, command in commands:
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                common = param.name in {one.name for one in reference.cli.params}
                for option in param.opts:
                    assert f"`{option}" in text or f", {option}" in text
                    assert common or option in section, f"{name} {option}"


def test_every_command_says_what_it_does_and_shows_an_example() -> None:
    for name, command in reference.all_commands():
        assert isinstance(command, Command), name
        assert command.help, name
        assert name in command.example, f"{name}: the example is of another command"
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, f"{name} {param.name}"


def test_examples_name_commands_and_options_that_exist() -> None:
    """Each `differ ...` line of every example is parsed by the command that it names."""
    known = dict(reference.all_commands())
    for _, command in reference.all_commands():
        assert isinstance(command, Command)
        for line in re.split(r"\n|&&|\|", command.example):
            words = line.split("#")[0].split()
            if words[:1] != ["differ"]:
                continue
            name = next(" ".join(words[:size]) for size in (3, 2) if " ".join(words[:size]) in known)
            known_options = {option for param in known[name].params for option in param.opts}
            for word in words:
                if word.startswith("--"):
                    assert word.split("=")[0] in known_options, line


def test_every_error_class_is_documented_with_its_exit_code() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.DifferError)]
    assert len(found) > 15
    for one in found:
        assert re.search(rf"^\| `{one.__name__}` \| `\w+` \| {one.exit_code} \|", text, re.M), one.__name__
        assert one.exit_code in reference.EXIT_CODES


def test_the_tree_in_errors_is_complete() -> None:
    tree = (errors.__doc__ or "").split("\n\n")[1]
    for one in reference.error_classes():
        assert re.search(rf"\b{one.__name__} +exit {one.exit_code}\b", tree), one.__name__


def test_every_setting_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")

    def keys(schema: object) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(keys, schema)) if schema else set()
        if not isinstance(schema, dict):
            return set()
        own = set(schema.get("properties", {}))
        return own.union(*(keys(value) for value in schema.values()))

    found = keys(config.json_schema())
    assert len(found) > 40
    assert {key for key in found if f"| `{key}` |" not in text} == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page.read_text(encoding="utf-8"), page)) == []


def test_pages_that_the_code_names_exist() -> None:
    for top in ("differ", "iterators"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in (".py", ".md", ".yaml"):
                for name in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
                    assert (ROOT / name).exists() or name in MADE, f"{path.name}: {name}"


def test_a_broken_link_would_be_found() -> None:
    page = ROOT / "README.md"
    text = "# One two\n\n[a](nowhere.md) [b](#one-two) [c](#three) [d](docs/README.md) `[e](code)` [f](https://x.org)"
    assert list(broken_links(text, page)) == [
        "README.md: nowhere.md: there is no nowhere.md",
        "README.md: #three: no heading has the anchor three",
    ]


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in DOCS.glob("**/*.md"):
        name = page.relative_to(DOCS).as_posix()
        assert name == "README.md" or name.startswith("decisions/") or f"({name})" in index, name


def test_decisions_are_numbered_and_say_what_was_not_chosen() -> None:
    found = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in found] == list(range(1, len(found) + 1))
    for page in found:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        assert "Status: " in text, page.name


def test_every_dependency_has_a_decision() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "decisions").glob("*.md")).lower()
    for requirement in wanted:
        name = re.split(r"[\[<>=~! ]", requirement)[0].lower()
        assert name in text, name


def test_python_that_is_shown_imports_what_there_is() -> None:
    """The names that Python blocks import from differ exist; whole programs are run by other tests."""
    for page in pages():
        for block in blocks(page.read_text(encoding="utf-8")):
            if not block.kind.startswith("python"):
                continue
            for found in re.finditer(r"^from (differ[\w.]*) import ([\w, ]+)$", block.body, re.M):
                module = importlib.import_module(found[1])
                for name in found[2].split(","):
                    assert hasattr(module, name.strip()), f"{page.name}: {found[0]}"


def test_the_disk_page_names_every_table_and_column() -> None:
    text = (DOCS / "formats/disk.md").read_text(encoding="utf-8")
    for table in tables.metadata.sorted_tables:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{table.name}` |")]
        for column in table.columns:
            assert f"`{column.name}`" in row, f"{table.name}.{column.name}"


def test_the_disk_page_names_every_file_that_a_project_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    import differ
    from differ.cli.scaffold.demo import shop

    monkeypatch.delenv("MONGO_URL", raising=False)
    make_project(tmp_path, demo=True)
    with (tmp_path / "scheduler.yaml").open("a") as file:
        file.write("storage: {}\n")
    text = (tmp_path / "scheduler.yaml").read_text()
    (tmp_path / "scheduler.yaml").write_text(
        text.replace("table: orders}", "table: orders}\n    snapshots: {small_base: 0, delta_share: 100%}")
    )
    with differ.open(tmp_path) as project:
        project.scan_all()
        shop.run_sql(tmp_path, tmp_path / "changes/shop.sql")
        project.scan_all()
        tree = (DOCS / "formats/disk.md").read_text(encoding="utf-8").split("```")[1]
        for root in ("snapshots", ".differ"):
            for path in (tmp_path / root).rglob("*"):
                if path.is_file() and path.name != ".gitignore":
                    kind = re.sub(r"^cycle-\d+-[0-9a-f]{8}-[0-9a-f]{4}-|-\d{5}(?=\.parquet)", "", path.name)
                    kind = "orders.lock" if path.suffix == ".lock" else kind
                    assert kind in re.sub(r"-\d{5}(?=\.parquet)", "", tree), path.name
        manifest = json.loads(sorted((tmp_path / "snapshots/orders").glob("*/manifest.json"))[-1].read_text())
        page = (DOCS / "formats/disk.md").read_text(encoding="utf-8")
        assert {key for key in manifest if f"`{key}`" not in page} == set()
        assert [part["kind"] for part in manifest["parts"]] == ["base", "delta"]
        names = {path.name.split("-")[0] for path in (tmp_path / "snapshots/orders").rglob("*.parquet")}
        assert names == {"part", "delta", "removed"}
        index = project.snapshot("orders").index
        assert {name for name in index.schema.names if f"`{name}`" not in page} == set()
        segment = next(iter(project.event_batches("orders"))).events
        assert {name for name in segment.schema.names if f"| `{name}` |" not in page} == set()


def test_anchors_are_those_of_the_headings() -> None:
    assert anchors("# `differ scan`\n\n## By cron\n\n## By cron\n") == {"differ-scan", "by-cron", "by-cron-1"}
