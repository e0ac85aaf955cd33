"""A consistency group may have more sources than a catalog has connections, and lets all of them go."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from differ.catalog import Catalog
from differ.catalog.locks import source_locks
from differ.errors import BusyError

NAMES = [f"source{i}" for i in range(40)]


@pytest.fixture
def catalog(postgresql_url: str) -> Iterator[Catalog]:
    catalog = Catalog(postgresql_url)
    yield catalog
    catalog.close()


def test_a_large_group_is_locked_whole_and_let_go_whole(catalog: Catalog, tmp_path: Path) -> None:
    for _ in range(2):
        with source_locks(catalog, tmp_path, NAMES):
            assert catalog.stream().head_scn == 0
            with pytest.raises(BusyError, match="source7"), source_locks(catalog, tmp_path, ["source7"]):
                pass


def test_a_group_that_finds_one_source_busy_holds_none(catalog: Catalog, tmp_path: Path) -> None:
    with source_locks(catalog, tmp_path, ["source9"]):
        with pytest.raises(BusyError, match="source9"), source_locks(catalog, tmp_path, NAMES):
            pass
        with source_locks(catalog, tmp_path, [name for name in NAMES if name != "source9"]):
            pass


def test_what_fails_under_the_locks_lets_them_go(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), source_locks(catalog, tmp_path, NAMES):
        raise RuntimeError
    with source_locks(catalog, tmp_path, NAMES):
        pass
