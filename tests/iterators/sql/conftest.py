"""One database of each proven kind, and each way in which its rows can travel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.iterators.sql.scanning import DEFAULTS

SERVERS = ("postgresql", "mariadb")


@pytest.fixture(params=["sqlite", *(pytest.param(f"{server}{way}", marks=pytest.mark.service)
                                    for server in SERVERS for way in ("", "-rows"))])  # fmt: skip
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a fresh, empty database; with `-rows` its faster path is not taken."""
    server, _, way = request.param.partition("-")
    monkeypatch.setitem(DEFAULTS, "fast", way != "rows")
    if server == "sqlite":
        (tmp_path / "shop.db").touch()
        yield f"sqlite:///{tmp_path}/shop.db"
    else:
        yield request.getfixturevalue(f"{server}_url")


@pytest.fixture(params=[True, False], ids=["fast", "rows"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether scans take the faster path: the test runs with it and without."""
    monkeypatch.setitem(DEFAULTS, "fast", request.param)
    return bool(request.param)
