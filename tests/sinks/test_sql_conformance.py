"""The `sql` sink through the shared suite: SQLite, PostgreSQL, MariaDB, and SQL that every database has."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from differ.sinks.contract import Document
from differ.sinks.plain import plain_value
from differ.sinks.sql import SqlSink, sink
from differ.sinks.sql.writer import Writer
from differ.testing.feed import NESTED
from differ.testing.sinks import StateSinkConformance


class SqlConformance(StateSinkConformance):
    """What a destination holds is read with SQLAlchemy's own types."""

    sink = SqlSink

    def read(self, options: Mapping[str, Any]) -> Iterable[Document]:
        engine = sa.create_engine(options["url"])
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("orders"):
                return []
            table = sa.Table("orders", sa.MetaData(), autoload_with=connection)
            rows = [self.normal(dict(row)) for row in connection.execute(sa.select(table)).mappings()]
        engine.dispose()
        return rows

    def normal(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row in the form of the feed's documents, nested values as JSON values."""
        return row

    def shown(self, document: Document) -> Any:
        nested = {"tags", "address", "document"}
        return {name: plain_value(value, NESTED[name]) if name in nested else value for name, value in document.items()}


class TestSQLite(SqlConformance):
    """Read by sqlite3 itself, as what lies there."""

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        return {"url": f"sqlite:///{folder}/shop.db"}

    def normal(self, row: dict[str, Any]) -> dict[str, Any]:
        import json

        for name in {"tags", "address", "document"} & row.keys():
            row[name] = None if row[name] is None else json.loads(row[name])
        if row["total"] is not None:
            row["total"] = Decimal(row["total"])
        return row

    def read(self, options: Mapping[str, Any]) -> Iterable[Document]:
        import sqlite3

        connection = sqlite3.connect(options["url"].removeprefix("sqlite:///"))
        connection.row_factory = sqlite3.Row
        try:
            rows = [dict(row) for row in connection.execute("SELECT * FROM orders")]
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()
        for row in rows:
            row["at"] = None if row["at"] is None else datetime.fromisoformat(row["at"])
        return [self.normal(row) for row in rows]


class TestGeneric(TestSQLite):
    """The writer of databases that are not known by name, on SQLite."""

    @pytest.fixture(autouse=True)
    def _generic(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sink, "WRITERS", {"sqlite": Writer})


@pytest.mark.service
class TestPostgreSQL(SqlConformance):
    """PostgreSQL, by psycopg."""

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        return {"url": self.request.getfixturevalue("postgresql_url")}


@pytest.mark.service
class TestMariaDB(SqlConformance):
    """MariaDB, by mysqlclient."""

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        return {"url": self.request.getfixturevalue("mariadb_url")}

    def normal(self, row: dict[str, Any]) -> dict[str, Any]:
        import json

        for name in {"tags", "address", "document"} & row.keys():
            row[name] = json.loads(row[name]) if isinstance(row[name], str) else row[name]
        row["at"] = None if row["at"] is None else row["at"].replace(tzinfo=UTC)
        return row
