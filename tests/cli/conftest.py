"""Fixtures of the command line's tests."""

from pathlib import Path

import pytest

from tests.cli.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A project with a source `orders` of five rows that was never scanned."""
    shop = Shop(tmp_path / "shop")
    shop.orders()
    return shop
