"""Any value of any type that a plugin may give: in the state, and in every form of its events, it is what it was."""

import tempfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cycle.feed import PLUGIN
from tests.cycle.world import World
from tests.faults.conftest import sized
from tests.road.forms import all_forms, fold, row, storage_row

LEAVES = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text(max_size=6)
TEXTS = ["", "\0", "null", "NaN", "\ufeff", "a\u0301", "\U0010ffff", "\r\n"]
MOMENTS = ["0001-01-01", "9999-12-31T23:59:59.999999", "1969-12-31T23:59:59.999999"]
LONGEST = timedelta(microseconds=2**63 - 1)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return st.integers(-limit, limit).map(lambda number: Decimal(f"{number}E-{scale}"))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1, 0]),
    "float": st.floats() | st.sampled_from([float("nan"), float("inf"), -0.0, 5e-324, 1.7976931348623157e308]),
    "decimal(5,0)": decimals(5, 0),
    "decimal(20,3)": decimals(20, 3),
    "decimal(38,38)": decimals(38, 38),
    "decimal(76,10)": decimals(76, 10),
    "string": st.text(max_size=8) | st.sampled_from(TEXTS),
    "bytes": st.binary(max_size=8) | st.sampled_from([b"", b"\0", b"\xff\xfe"]),
    "date": st.dates() | st.sampled_from([date.min, date.max, date(1969, 12, 31)]),
    "time": st.times(),
    "timestamp": st.datetimes() | st.sampled_from([_moment(text) for text in MOMENTS]),
    "timestamp[us,UTC]": st.datetimes(timezones=st.just(UTC))
    | st.datetimes(_moment("0002-01-01"), _moment("9998-12-31"), timezones=st.timezones()),
    "duration[us]": st.timedeltas(-LONGEST, LONGEST),
    "uuid": st.uuids(),
    "json": st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abü\0. ", max_size=3), inner, max_size=3),
        max_leaves=6,
    ).filter(lambda value: value is not None),
}  # fmt: skip


@st.composite
def turns(draw: st.DrawFn) -> tuple[dict[str, str], list[dict[int, dict[str, Any]]]]:
    """The types of some columns, and the rows by id of two states of a source."""
    chosen = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=6, unique=True))
    types = {f"c{number}": type_ for number, type_ in enumerate(chosen)}
    cells = st.fixed_dictionaries({name: st.none() | VALUES[type_] for name, type_ in types.items()})
    states = draw(st.lists(st.dictionaries(st.integers(0, 5), cells, max_size=4), min_size=2, max_size=2))
    return types, states


@settings(
    max_examples=sized(10, 3_000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(turns())
def test_any_value_comes_through(drawn: tuple[dict[str, str], list[dict[int, dict[str, Any]]]]) -> None:
    types, states = drawn
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.plugin("feed", PLUGIN.format(types={"id": "int"} | types))
        world.fed("t")
        full = {"id": "int"} | types
        for state in states:
            given_rows = [{"id": number, **cells} for number, cells in state.items()]
            world.commit("t", given_rows)
            wanted = {(("int", values["id"]),): row(values, full) for values in given_rows}
            if world.project.catalog.source("t").current is not None:  # type: ignore[union-attr]
                snapshot = world.project.snapshot("t")
                found = [storage_row(values, full) for values in snapshot.to_arrow().to_pylist()]
                assert {(values["id"],): values for values in found} == wanted
            for form, changes in all_forms(world.project, "t", 0, full).items():
                assert differing(fold(changes), wanted, full) == [], form
            assert world.scan("t").status == "unchanged"
        world.close()


def differing(found: dict[Any, Any], wanted: dict[Any, Any], types: dict[str, str]) -> list[Any]:
    """The cells that are not what they should be, with their types."""
    assert found.keys() == wanted.keys()
    return [
        (types[name], found[key][name], cell)
        for key, cells in wanted.items()
        for name, cell in cells.items()
        if found[key][name] != cell
    ]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("string", "\ud800"),
        ("int", 2**63),
        ("int", -(2**63) - 1),
        ("int", 1.5),
        ("decimal(5,2)", Decimal("0.001")),
        ("decimal(5,2)", Decimal("NaN")),
        ("date", "0000-01-01"),
        ("timestamp", "10000-01-01 00:00:00"),
        ("time", time(1, tzinfo=UTC)),
        ("bool", 2),
        ("uuid", "no uuid"),
    ],
)
def test_what_has_no_exact_form_is_refused(type_: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.plugin("feed", PLUGIN.format(types={"c": type_}))
        world.fed("t", [{"id": 1, "c": None}])
        world.commit("t")
        result = world.scan("t", [{"id": 1, "c": value}])
        assert (result.status, result.exit_code) == ("failed", 3), result
        assert "'c'" in (result.error or ""), result
        assert world.state("t") == {(1,): {"id": 1, "c": None}}
        world.close()
