"""A project per test, over real stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cycle.world import World

SQL_STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.service),
              pytest.param("mariadb", marks=pytest.mark.service)]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A project whose guards hold nothing."""
    made = World(tmp_path / "project")
    yield made
    made.close()


@pytest.fixture(params=SQL_STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database of each kind."""
    if request.param == "sqlite":
        (tmp_path / "shop.db").touch()
        return f"sqlite:///{tmp_path}/shop.db"
    return str(request.getfixturevalue(f"{request.param}_url"))
