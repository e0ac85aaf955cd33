"""Databases of each kind, and what lies in them by the driver's own types."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from differ.sinks.sql import SqlSink, sink
from tests.sinks.feeding import made


@pytest.fixture(params=["sqlite", "generic", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of each kind, empty; `generic`: by the writer of databases that are not known by name."""
    if request.param == "generic":
        monkeypatch.setattr(sink, "WRITERS", {})
    if request.param in ("sqlite", "generic"):
        return f"sqlite:///{tmp_path}/shop.db"
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


def opened(folder: Path, url: str, **options: Any) -> SqlSink:
    found = made(SqlSink, folder, {"url": url, **options})
    found.open()
    return found


def rows(url: str, query: str = "SELECT * FROM orders ORDER BY id") -> list[dict[str, Any]]:
    """What a plain query gives, by the driver's own types."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query)]
        finally:
            connection.close()
    engine = sa.create_engine(url)
    with engine.connect() as connection_:
        found = [dict(row) for row in connection_.exec_driver_sql(query).mappings()]
    engine.dispose()
    return found


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
