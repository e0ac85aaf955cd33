"""Cron expressions as in crontab(5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.config.cron import parse_cron

EVERY_DAY = tuple(range(1, 32))


@pytest.mark.parametrize(
    ("text", "minutes", "hours", "days_of_week"),
    [
        ("*/20 * * * *", (0, 20, 40), tuple(range(24)), None),
        ("5 4 * * *", (5,), (4,), None),
        ("0 9-17/4 * * 1-5", (0,), (9, 13, 17), ("mon", "tue", "wed", "thu", "fri")),
        ("0,30 0 * * 0", (0, 30), (0,), ("sun",)),
        ("0 0 * * 7", (0,), (0,), ("sun",)),
        ("0 0 * * 5-7", (0,), (0,), ("sun", "fri", "sat")),
        ("0 0 * * Mon,fri", (0,), (0,), ("mon", "fri")),
        ("50/5 0 * * *", (50, 55), (0,), None),
        ("@daily", (0,), (0,), None),
        (" @weekly ", (0,), (0,), ("sun",)),
    ],
)
def test_expressions(text: str, minutes: tuple[int], hours: tuple[int], days_of_week: tuple[str] | None) -> None:
    cron = parse_cron(text)
    assert (cron.minutes, cron.hours) == (minutes, hours)
    assert cron.days_of_week == (days_of_week or ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
    assert cron.days == EVERY_DAY


@pytest.mark.parametrize(
    ("text", "either"),
    [("0 0 13 * 5", True), ("0 0 13 * *", False), ("0 0 * * 5", False), ("0 0 */2 * 5", False)],
)
def test_two_restricted_days_mean_either(text: str, either: bool) -> None:
    assert parse_cron(text).either_day is either


def test_months_have_names() -> None:
    assert parse_cron("0 0 1 jan-MAR,12 *").months == (1, 2, 3, 12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@reboot", "five fields"),
        ("60 * * * *", "cron minute: '60' is not between 0 and 59"),
        ("* 24 * * *", "cron hour: '24' is not between 0 and 23"),
        ("* * 0 * *", "cron day of month: '0' is not between 1 and 31"),
        ("* * * 13 *", "cron month: '13' is not between 1 and 12"),
        ("* * * * 8", "cron day of week: '8' is not between 0 and 7"),
        ("* * * foo *", "cron month: 'foo' is not between 1 and 12"),
        ("5-1 * * * *", "cron minute: '5-1' names no value"),
        ("*/0 * * * *", "cron minute: '*/0' names no value"),
        ("1,,2 * * * *", "cron minute: '' is not"),
        ("-1 * * * *", "cron minute: '-1' is not"),
        ("0 0 31 2,4 *", "never fires"),
    ],
)
def test_a_wrong_field_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="cron") as caught:
        parse_cron(text)
    assert said in str(caught.value)


@given(st.lists(st.text("0123456789*/-,@a", max_size=6), min_size=5, max_size=5))
def test_whatever_is_taken_names_a_time(fields: list[str]) -> None:
    try:
        cron = parse_cron(" ".join(fields))
    except ValueError:
        return
    assert cron.minutes
    assert cron.hours
    assert cron.days
    assert cron.months
    assert cron.days_of_week
