"""Fixtures of the command line's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canary import check_folder
from tests.cli.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A project with a source `orders` of five rows that was never scanned."""
    shop = Shop(tmp_path / "shop")
    shop.orders()
    yield shop
    check_folder(shop.folder)
