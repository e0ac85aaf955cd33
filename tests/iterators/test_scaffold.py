"""New iterators: what the templates write is found, works, and conforms as it stands."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from differ.errors import UsageError
from differ.iterators.discovery import find_iterator
from differ.iterators.scaffold import KINDS, new_iterator
from differ.testing import check_iterator


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "iterators").mkdir(mode=0o755)
    return tmp_path


def check(project: Path, kind: str, options: dict[str, Any]) -> int:
    """How many rows the new iterator's source has; it conforms."""
    made = new_iterator(project, "thing", kind)
    assert made.path == project / "iterators" / "thing.py"
    (body,) = yaml.safe_load(f"sources:\n{made.yaml}")["sources"].values()
    assert body["iterator"] == "thing"
    assert set(options) <= set(body["options"])
    report = check_iterator(find_iterator("thing", project), options, project=project, key=body.get("key", ()))
    assert report.passed, str(report)
    return int(report["reads"].detail.split()[0])


def test_python(project: Path) -> None:
    (project / "data.csv").write_text("id,name\n1,a\n2,b\n")
    assert check(project, "python", {"path": "data.csv"}) == 2


def test_sql(project: Path) -> None:
    with sqlite3.connect(project / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, total NUMERIC(10,2))")
        connection.execute("INSERT INTO orders VALUES (1, 'paid', 5), (2, 'draft', 6), (3, 'paid', 7)")
    connection.close()
    assert check(project, "sql", {"url": f"sqlite:///{project / 'shop.db'}"}) == 2


def test_mongodb(project: Path, mongodb_url: str) -> None:
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client.get_default_database()["orders"].insert_many([{"n": 1}, {"n": 2, "deleted": True}])
    assert check(project, "mongodb", {"url": mongodb_url, "collection": "orders"}) == 1


@pytest.mark.parametrize("name", ["", "Orders", "1st", "a-b", "../up", "a.b", "sql", "grün"])
def test_names_that_are_refused(project: Path, name: str) -> None:
    with pytest.raises(UsageError):
        new_iterator(project, name)
    assert not list(project.rglob("*.py"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_never_overwritten(project: Path, kind: str) -> None:
    (project / "iterators" / "thing.py").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        new_iterator(project, "thing", kind)
    assert (project / "iterators" / "thing.py").read_text() == "mine"


def test_an_unknown_kind(project: Path) -> None:
    with pytest.raises(UsageError, match="kinds: sql, mongodb, python"):
        new_iterator(project, "thing", "rest")
