"""The sample shop end to end, with its customers in a file and in a MongoDB-protocol server."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import differ
from differ.cli.init import make_project
from differ.cli.scaffold.demo import shop
from differ.model import ChangeEvent
from differ.project import Project

BASELINE = 16 + 100 + 173 + 36 + 100
EVENTS = {
    "products": {("update", "TEA-CHAI")},
    "orders": {("update", 1041), ("update", 1043), ("delete", 1044), ("insert", 1101)},
    "order_items": {("delete", 1044, 1), ("insert", 1043, 2), ("insert", 1101, 1)},
    "customers": {("update", "C07"), ("update", "C12"), ("insert", "C37"), ("delete", "C36")},
    "order_view": {("update", 1012), ("update", 1041), ("update", 1043), ("delete", 1044), ("insert", 1101)},
}


@pytest.fixture(params=["files", "mongodb"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new demo project, with its documents in either store."""
    if request.param == "mongodb":
        monkeypatch.setenv("MONGO_URL", request.getfixturevalue("mongodb_url"))
    else:
        monkeypatch.delenv("MONGO_URL", raising=False)
    made = tmp_path / "shop"
    make_project(made, demo=True)
    assert (made / "customers.jsonl").exists() == (request.param == "files")
    return made


def run_demo(folder: Path, cwd: Path) -> str:
    command = [sys.executable, str(folder / "demo.py")]
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def events(project: Project, since: int) -> list[ChangeEvent]:
    return list(project.events(since=since))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo project with files whose demo was run once, started in the folder above; and what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MONGO_URL", raising=False)
        made = tmp_path_factory.mktemp("demo") / "shop"
        make_project(made, demo=True)
        return made, run_demo(made, made.parent)


def check_demo(folder: Path, told: str) -> None:
    shown = [line for line in told.splitlines() if line.startswith("$ ")]
    assert shown == [
        "$ python shop.py create",
        "$ differ scan --all",
        "$ cat changes/shop.sql",
        "$ python shop.py sql changes/shop.sql",
        "$ cat changes/customers.jsonl",
        "$ python shop.py documents changes/customers.jsonl",
        "$ differ scan --all",
        f"$ differ events --since {BASELINE}",
    ]
    for line in (
        "price: 5.50 -> 5.00",
        "document.address.city: Chennai -> Kochi",
        "status: paid -> shipped; shipped_on: null -> 2026-11-20; customer.address.city: Chennai -> Kochi",
    ):
        assert line in told
    with differ.open(folder) as project:
        found = events(project, BASELINE)[: sum(map(len, EVENTS.values()))]
    by_source: dict[str, set[tuple[object, ...]]] = {}
    for event in found:
        by_source.setdefault(event.source, set()).add((event.op, *event.key.values()))
    assert by_source == EVENTS
    for event in found:
        assert [line for line in told.splitlines() if line.startswith(f"{event.scn}  {event.op}  {event.source}")]


def test_the_demo_shows_every_command_and_every_event(ran: tuple[Path, str]) -> None:
    check_demo(*ran)


def test_the_demo_with_documents_in_a_server(tmp_path: Path, mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGO_URL", mongodb_url)
    make_project(tmp_path / "shop", demo=True)
    check_demo(tmp_path / "shop", run_demo(tmp_path / "shop", tmp_path))


def test_the_commands_to_try_next_work_where_the_demo_was_started(ran: tuple[Path, str]) -> None:
    folder, told = ran
    commands = told.split("To try next:\n")[1].splitlines()
    assert len(commands) == 3
    for command in commands:
        words = command.split()
        words[0] = str(Path(sys.executable).with_name("differ")) if words[0] == "differ" else words[0]
        done = subprocess.run(words, cwd=folder.parent, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, command + done.stderr
        assert done.stdout


def test_what_the_demo_itself_prints_fits_80_columns(ran: tuple[Path, str]) -> None:
    told = ran[1]
    own = told.split("$ differ events")[0].splitlines() + told.split("Look at order_view")[1].splitlines()
    own = [line.replace(str(Path(sys.executable).parent), ".venv/bin") for line in own]
    assert [line for line in own if len(line) > 80] == []


def test_the_demo_may_be_run_again_and_from_its_own_folder(ran: tuple[Path, str]) -> None:
    folder, first = ran
    second = run_demo(folder, folder)
    assert "--project" not in second.split("To try next:")[1]
    tables = [told.split("  change\n")[1].split("\n\n")[0].splitlines() for told in (first, second)]
    without_scn = [[line.split(maxsplit=1)[1] for line in lines] for lines in tables]
    assert without_scn[0] == without_scn[1]


def test_a_change_on_either_side_is_one_event_of_the_order(folder: Path) -> None:
    with differ.open(folder) as project:
        since = project.scan("order_view").scn_last
        assert since == 100
        change(folder, documents='{"update": "C12", "set": {"tier": "gold"}}')
        project.scan("order_view")
        (only,) = events(project, since)
        assert (only.op, only.key, only.changed) == ("update", {"order_id": 1012}, ("customer",))
        assert only.before is not None
        assert only.after is not None
        assert only.before["customer"] == {**only.after["customer"], "tier": "silver"}
        assert only.after["customer"]["since"] == datetime(2025, 11, 6, tzinfo=UTC)

        change(folder, sql="UPDATE orders SET note = 'fragile' WHERE order_id = 1012")
        project.scan("order_view")
        (only,) = events(project, since + 1)
        assert (only.op, only.key, only.changed) == ("update", {"order_id": 1012}, ("note",))

        change(
            folder,
            sql="UPDATE order_items SET quantity = 9 WHERE order_id = 1012 AND line = 1",
            documents='{"update": "C12", "set": {"address.city": "Basel"}}',
        )
        project.scan("order_view")
        (only,) = events(project, since + 2)
        assert (only.op, only.changed) == ("update", ("items", "customer"))
        assert project.scan("order_view").status == "unchanged"


def test_an_order_stays_when_its_customer_goes(folder: Path) -> None:
    with differ.open(folder) as project:
        since = project.scan("order_view").scn_last
        assert since is not None
        change(folder, documents='{"delete": "C12"}')
        project.scan("order_view")
        (only,) = events(project, since)
        assert (only.op, only.changed) == ("update", ("customer",))
        assert only.after is not None
        assert only.after["customer"] is None


def test_a_deleted_order_is_deleted_at_once(folder: Path) -> None:
    """The plugin reads the orders in one consistent state, so absence is proof and needs no second scan."""
    with differ.open(folder) as project:
        since = project.scan("order_view").scn_last
        assert since is not None
        change(folder, sql="DELETE FROM order_items WHERE order_id = 1012; DELETE FROM orders WHERE order_id = 1012")
        project.scan("order_view")
        (only,) = events(project, since)
        assert (only.op, only.key) == ("delete", {"order_id": 1012})


def test_the_plugin_conforms(folder: Path) -> None:
    from differ.iterators.discovery import find_iterator
    from differ.testing import check_iterator

    with differ.open(folder) as project:
        options = project.settings.source("order_view").options
    report = check_iterator(find_iterator("order_view", folder), options, project=folder)
    assert report.passed, str(report)


def test_both_stores_give_the_same_states(tmp_path: Path, mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which store holds the documents makes no difference to what differ knows of them."""
    states = []
    for name, url in (("files", None), ("mongodb", mongodb_url)):
        if url is not None:
            monkeypatch.setenv("MONGO_URL", url)
        else:
            monkeypatch.delenv("MONGO_URL", raising=False)
        make_project(tmp_path / name, demo=True)
        shop.run_sql(tmp_path / name, tmp_path / name / "changes/shop.sql")
        shop.change_documents(tmp_path / name, tmp_path / name / "changes/customers.jsonl")
        with differ.open(tmp_path / name) as project:
            project.scan_all()
            for source in ("customers", "order_view"):
                rows = project.snapshot(source).to_arrow().to_pylist()
                states.append(sorted(map(repr, rows)))
    assert states[:2] == states[2:]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["sql", "nowhere.sql"], 1, "nowhere.sql"),
        (["sql", "bad.sql"], 1, "no such table: nowhere"),
        (["sell"], 2, "python shop.py create"),
    ],
)
def test_the_shop_tells_mistakes_in_a_line(ran: tuple[Path, str], arguments: list[str], code: int, said: str) -> None:
    (ran[0] / "bad.sql").write_text("DELETE FROM nowhere")
    command = [sys.executable, "shop.py", *arguments]
    done = subprocess.run(command, cwd=ran[0], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_url_of_the_server_stays_out_of_the_files(
    tmp_path: Path, mongodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGO_URL", mongodb_url)
    make_project(tmp_path / "shop", demo=True)
    texts = [path.read_bytes() for path in (tmp_path / "shop").rglob("*") if path.is_file()]
    assert not [text for text in texts if mongodb_url.encode() in text]


def change(folder: Path, *, sql: str = "", documents: str = "") -> None:
    if sql:
        (folder / "now.sql").write_text(f"{sql};\n")
        shop.run_sql(folder, folder / "now.sql")
    if documents:
        (folder / "now.jsonl").write_text(f"{documents}\n")
        shop.change_documents(folder, folder / "now.jsonl")
