"""One database of each proven kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service),
                        pytest.param("mariadb", marks=pytest.mark.service)])  # fmt: skip
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    if request.param == "sqlite":
        (tmp_path / "shop.db").touch()
        yield f"sqlite:///{tmp_path}/shop.db"
    else:
        yield request.getfixturevalue(f"{request.param}_url")
