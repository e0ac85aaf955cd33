"""Whatever changes, a scan by checksums finds what a full scan finds."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.cycle.checksums import Change, changes, open_shop

URLS = [pytest.param(name, marks=pytest.mark.service) for name in ("postgresql_url", "mariadb_url")]


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest) -> str:
    """A database of each kind that makes checksums."""
    return str(request.getfixturevalue(request.param))


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example(steps=[[Change("swap n")], [Change("negate")], [Change("swap i")], [Change("swap f f2")]])
@example(steps=[[Change("insert", 2**63 - 3, 2, {"s": None})], [Change("move", 5, 2**40)], [Change("width", 1)]])
@example(steps=[[Change("delete", -(2**63), 2**64)], [Change("insert", -5, 9, {"s": "a"})], [Change("nothing")]])
@given(steps=st.lists(st.lists(changes, max_size=3), min_size=1, max_size=6))
def test_the_events_are_those_of_a_full_scan(url: str, steps: list[list[Change]]) -> None:
    with open_shop(url) as shop:
        shop.fill(40)
        shop.agree()
        for step in steps:
            for change in step:
                shop.change(change)
            shop.agree()
