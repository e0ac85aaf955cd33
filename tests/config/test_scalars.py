"""Durations, sizes, shares, limits: what is written, what the code gets."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.config import Limit
from differ.config.scalars import parse_duration, parse_limit, parse_share, parse_size, parse_tolerance


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300), ("10s", 10), ("1h30m", 5400), ("7d", 604800), ("250ms", 0.25), ("2w", 1209600),
        ("1h 30m", 5400), (90, 90), (1.5, 1.5), ("90", 90), ("0s", 0), ("1.5h", 5400),
    ],
)  # fmt: skip
def test_durations_are_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-5m", "5x", "m", "5m3", "1e3s", None, True, [5], "9" * 400, float("inf"), -1])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("64MiB", 67108864), ("10GiB", 10737418240), ("1GB", 1000000000), ("1kB", 1000), ("1KiB", 1024),
        ("1.5MB", 1500000), ("4096", 4096), (4096, 4096), ("0", 0), ("5B", 5), ("1 TiB", 2**40),
    ],
)  # fmt: skip
def test_sizes_are_bytes(text: object, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1MB", "1PB", "1mb", "64 M", None, True, [], float("nan")])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "share"),
    [("30%", "0.3"), ("0.5 %", "0.005"), (0.3, "0.3"), ("0.3", "0.3"), (1, "1"), ("100%", "1"), (0, "0")],
)
def test_shares_are_exact(text: object, share: str) -> None:
    assert parse_share(text) == Decimal(share)


@pytest.mark.parametrize("text", ["130%", "-1%", 1.01, "x", None, True, "%"])
def test_what_is_no_share_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        parse_share(text)


@pytest.mark.parametrize(
    ("limit", "count", "rows", "exceeded"),
    [
        ("20%", 200, 1000, False),
        ("20%", 201, 1000, True),
        ("20%", 10, 10, False),
        ("20%", 11, 11, True),
        ("0%", 10, 1000, False),
        ("0%", 11, 1000, True),
        ("100%", 1000, 1000, False),
        ("33.3%", 333, 1000, False),
        ("33.3%", 334, 1000, True),
        (5, 5, 6, False),
        (5, 6, 6, True),
        (0, 1, 1000000, True),
        ("20%", 11, 0, True),
    ],
)
def test_a_limit_is_exceeded_by_more_than_it(limit: object, count: int, rows: int, exceeded: bool) -> None:
    assert parse_limit(limit).exceeded(count, rows) is exceeded


@given(
    st.one_of(
        st.builds(Limit, count=st.integers(0, 10**17)),
        st.builds(Limit, share=st.decimals(0, 1, places=6)),
    )
)
def test_a_printed_limit_reads_back_equal(limit: Limit) -> None:
    assert parse_limit(str(limit)) == limit


@pytest.mark.parametrize("text", ["20.5", "x%", "", "200%", -1, 0.5, True, None])
def test_what_is_no_limit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a share of the rows"):
        parse_limit(text)


def test_a_limit_is_a_share_or_a_count() -> None:
    for wrong in ({}, {"share": Decimal("0.1"), "count": 1}):
        with pytest.raises(ValueError, match="a share or a count"):
            Limit(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "number"), [(0.001, "0.001"), ("1e-9", "1e-9"), (5, "5")])
def test_tolerances_are_what_was_written(text: object, number: str) -> None:
    assert parse_tolerance(text) == Decimal(number)


@pytest.mark.parametrize("text", [0, -1, "nan", "inf", "x", None, True, "1" * 50])
def test_what_is_no_tolerance_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a number above 0"):
        parse_tolerance(text)
