"""How much the fault tests try, and the seed of what they choose at random.

`make test` tries a little of everything; `make test-faults` (DIFFER_FAULTS=full) as much as is promised. What failed is
tried again by the seed that the failing test printed: DIFFER_SEED=1234 make test-faults.
"""

import os
import random
import sys

import pytest

FULL = os.environ.get("DIFFER_FAULTS") == "full"


def sized(few: int, many: int) -> int:
    """`few` in `make test`, `many` in `make test-faults`."""
    return many if FULL else few


@pytest.fixture
def seed() -> int:
    """The seed of one test: a new one each time, or that of DIFFER_SEED. Printed, so a failing test shows it."""
    given = os.environ.get("DIFFER_SEED")
    chosen = int(given) if given else random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"DIFFER_SEED={chosen}\n")
    return chosen


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that lies here is marked; where everything is tried, no test is stopped for taking long."""
    for item in items:
        if "tests/faults/" in item.path.as_posix():
            item.add_marker(pytest.mark.faults)
            if FULL:
                item.add_marker(pytest.mark.timeout(0))
