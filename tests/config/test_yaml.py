"""How the text is read: YAML 1.2 scalars, anchors and merges; nothing but ConfigError ever comes out."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from differ.config import json_schema, load
from differ.config.document import parse_document
from differ.errors import ConfigError
from tests.config.conftest import Loading
from tests.config.test_loading import SAMPLE, VARIABLES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-11-23", "2026-11-23"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("007", 7),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_document(f"x: {text}").value["x"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_always_text() -> None:
    document = parse_document("no: 1\n1: 2\n~: 3\n2026-01-01: 4\n")
    assert document.value == {"no": 1, "1": 2, "~": 3, "2026-01-01": 4}


def test_sources_share_settings_by_anchor_and_merge(loading: Loading) -> None:
    settings = loading(
        """
        sources:
          orders: &shop
            iterator: sql
            timeout: 5m
            options: &database {url: sqlite:///shop.db, table: orders}
          items:
            <<: *shop
            timeout: 1m
            options: {<<: [*database], table: items}
        """
    )
    items = settings.source("items")
    assert (items.iterator, items.timeout_seconds) == ("sql", 60)
    assert items.options == {"url": "sqlite:///shop.db", "table": "items"}


def test_a_problem_in_merged_keys_names_the_line_where_they_stand() -> None:
    document = parse_document("a: &a\n  x: 1\nb:\n  <<: *a\n  y: 2\n")
    assert document.line(("b", "x")) == 2
    assert document.line(("b", "y")) == 5
    assert document.line(("b", "missing", 0)) == 3


@pytest.mark.parametrize(
    "bomb",
    [
        "\n".join(
            ["a: &l0 [x, x, x, x, x, x, x, x, x, x]"]
            + [f"b{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 9)]
        ),
        "a: &a {"
        + ", ".join(f"k{index}: 1" for index in range(2000))
        + "}\nb: {<<: ["
        + ", ".join(["*a"] * 2000)
        + "]}",
        "a: &l0 x\n" + "\n".join(f"b{level}: &l{level} [*l{level - 1}]" for level in range(1, 2000)),
    ],
)
def test_an_alias_bomb_is_refused(bomb: str) -> None:
    with pytest.raises(ConfigError, match=r"more than|nested deeper"):
        parse_document(bomb)


KEYS = sorted({name for part in [json_schema(), *json_schema()["$defs"].values()] for name in part["properties"]})
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["5m", "30%", "1GiB", "sql", "* * * * *", "hmac", "env:NAME", "${NAME}", "${", "file:x", "sqlite:///x"]),
)  # fmt: skip
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from([*KEYS, "orders"]), st.text(max_size=5)), inner, max_size=5),
    ),
    max_leaves=20,
)


def load_anything(text: str) -> None:
    """Load text as a project; a ConfigError that can be printed is fine, every other error is not."""
    with TemporaryDirectory() as folder:
        Path(folder, "scheduler.yaml").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        told = "scheduler.yaml"
        try:
            load(Path(folder), environ={"NAME": "value"} | VARIABLES)
        except ConfigError as error:
            told = str(error)
        assert "scheduler.yaml" in told


@given(st.text())
@example("a: 1" + "0" * 5000)
@example("a: 1e" + "9" * 400)
@example('a: "\\ud800"')
@example("{" * 5000)
@example("? " * 5000)
def test_arbitrary_text_gives_settings_or_a_config_error(text: str) -> None:
    load_anything(text)


@given(st.dictionaries(st.sampled_from(KEYS), BODIES, max_size=4))
def test_arbitrary_values_give_settings_or_a_config_error(body: dict[str, object]) -> None:
    import yaml

    load_anything(yaml.safe_dump(body, allow_unicode=True))


INSERTS = st.one_of(st.just(""), st.text(max_size=6), st.sampled_from(["[", "{", "*", "&a ", "!x ", ": ", "\n"]))


@given(st.integers(0, len(SAMPLE)), st.integers(0, 40), INSERTS)
def test_a_damaged_sample_gives_settings_or_a_config_error(start: int, removed: int, put: str) -> None:
    load_anything(SAMPLE[:start] + put + SAMPLE[start + removed :])
