"""Mapping: what each rule does, what two rules say against each other, and how sources differ."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from differ.config import MappingSettings, load
from differ.errors import ConfigError, SinkError
from differ.records import types as t
from differ.records.types import Column, LogicalType, Schema
from differ.sinks.mapping import DocumentMapping, Plan

COLUMNS = ("id", "total", "status", "internal", "customer_name", "address_city", "address_zip")
SCHEMA = Schema(
    columns=tuple(Column(name=name, type=t.INT if name == "id" else t.STRING) for name in COLUMNS), key=("id",)
)
ROW = {name: index if name == "id" else f"{name}!" for index, name in enumerate(COLUMNS)}


def plan(schema: Schema = SCHEMA, source: str = "orders", **rules: Any) -> Plan:
    settings = MappingSettings.model_validate(rules, by_alias=True)
    return DocumentMapping(settings, [source]).plan(source, schema)


def test_without_rules_a_record_is_itself() -> None:
    assert plan().document(ROW) is ROW


def test_rename() -> None:
    made = plan(rename={"total": "amount", "id": "number"})
    assert made.document({"id": 1, "total": 2} | dict.fromkeys(COLUMNS[2:]))["amount"] == 2
    assert made.key({"id": 1}) == {"number": 1}
    assert list(made.document(ROW)) == ["number", "amount", *COLUMNS[2:]]
    assert made.types["amount"] == t.STRING


def test_pick_keeps_the_key() -> None:
    assert plan(pick=["status"]).document(ROW) == {"id": 0, "status": "status!"}


def test_pick_and_rename() -> None:
    assert plan(pick=["status"], rename={"status": "state", "total": "amount"}).document(ROW) == {
        "id": 0,
        "state": "status!",
    }


def test_exclude() -> None:
    assert "internal" not in plan(exclude="internal").document(ROW)


def test_nest_and_constants() -> None:
    made = plan(
        nest={"customer_name": "customer.name", "status": "customer.state.now"},
        constants={"customer.kind": "shop", "v": 1},
        pick=["customer_name", "status"],
    )
    assert made.document(ROW) == {
        "id": 0, "customer": {"name": "customer_name!", "state": {"now": "status!"}, "kind": "shop"}, "v": 1,
    }  # fmt: skip
    children = dict(made.types["customer"].children)
    assert children == {
        "name": t.STRING, "kind": t.STRING, "state": LogicalType(kind="struct", children=(("now", t.STRING),))
    }  # fmt: skip


def test_group() -> None:
    made = plan(
        group={"address_*": "address", "customer_*": "buyer.of"}, exclude=["internal"], rename={"address_zip": "zip"}
    )
    assert made.document(ROW) == {
        "id": 0, "total": "total!", "status": "status!", "buyer": {"of": {"name": "customer_name!"}},
        "address": {"city": "address_city!"}, "zip": "address_zip!",
    }  # fmt: skip


def test_a_group_passes_the_key_by() -> None:
    schema = Schema(
        columns=tuple(Column(name=name, type=t.INT) for name in ("order_id", "order_total", "order_")),
        key=("order_id",),
    )
    made = plan(schema, group={"order_*": "order"})
    assert made.document({"order_id": 1, "order_total": 2, "order_": 3}) == {
        "order_id": 1,
        "order": {"total": 2},
        "order_": 3,
    }


def test_a_source_has_rules_of_its_own() -> None:
    settings = MappingSettings.model_validate(
        {
            "rename": {"total": "amount"},
            "exclude": ["internal"],
            "sources": {"items": {"rename": {"status": "state"}, "exclude": []}},
        }
    )
    mapping = DocumentMapping(settings, ["orders", "items"])
    orders, items = mapping.plan("orders", SCHEMA).document(ROW), mapping.plan("items", SCHEMA).document(ROW)
    assert "amount" in orders
    assert "internal" not in orders
    assert {"total", "state", "internal"} <= items.keys()


def test_names_that_no_source_has_are_told() -> None:
    mapping = DocumentMapping(MappingSettings(rename={"totl": "amount"}, exclude=("internal",)), ["orders"])
    mapping.plan("orders", SCHEMA)
    assert mapping.unknown() == ["column 'totl' is in no source; did you mean 'total'?"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"rename": {"total": "status"}}, "column 'total' and column 'status' both give the field 'status'"),
        ({"group": {"address_*": "total"}}, "column 'address_city' gives 'total.city', but column 'total'"),
        ({"nest": {"total": "status.of"}}, "column 'total' gives 'status.of', but column 'status' gives 'status'"),
        ({"constants": {"status": 1}}, "column 'status' and constant 'status' both give the field 'status'"),
        ({"exclude": ["id"]}, "'exclude' names 'id', a key column"),
        ({"nest": {"id": "of.order"}}, "'nest' names 'id', a key column"),
    ],
)  # fmt: skip
def test_what_a_schema_does_not_allow(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(SinkError) as caught:
        plan(**rules)
    assert caught.value.message.startswith(f"map source orders: {said}")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"rename": {"a": "x", "b": "x"}}, "column 'a' and column 'b' both give the field 'x'"),
        ({"rename": {"a": "x"}, "nest": {"b": "x.y"}}, "column 'b' gives 'x.y', but column 'a' gives 'x' a value"),
        ({"nest": {"a": "x.y"}, "constants": {"x.y": 1}}, "column 'a' and constant 'x.y' both give the field 'x.y'"),
        ({"rename": {"a": "x"}, "nest": {"a": "x.y"}}, "column 'a' is in 'rename' and in 'nest'; decide for one"),
        ({"rename": {"a": "x"}, "exclude": ["a"]}, "column 'a' is in 'exclude' and in 'rename'; decide for one"),
        ({"pick": ["a"], "exclude": ["a"]}, "column 'a' is in 'exclude' and in 'pick'; decide for one"),
        ({"pick": ["b"], "nest": {"a": "x.y"}}, "column 'a' is in 'nest' but not in 'pick'"),
        ({"nest": {"a": "x"}}, "expected a dotted path such as customer.name, not 'x'"),
        ({"rename": {"a": "x.y"}}, "'x.y' holds a dot; a nested field is made by 'nest'"),
        ({"group": {"a": "x"}}, "expected a prefix and a star such as address_*, not 'a'"),
        ({"sources": {"orders": {"rename": {"a": "x", "b": "x"}}}}, "both give the field 'x'"),
        ({"renam": {}}, "unknown key; did you mean 'rename'?"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_runs(tmp_path: Path, rules: dict[str, Any], said: str) -> None:
    sink = {"kind": "console", "sources": ["orders"], "mapping": rules}
    body = {"version": 1, "sources": {"orders": {"iterator": "sql"}}, "sinks": {"look": sink}}
    (tmp_path / "scheduler.yaml").write_text(yaml.safe_dump(body))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={})
    assert said in caught.value.message
    assert "sinks.look.mapping" in caught.value.message


names = st.sampled_from(COLUMNS[1:])
fields = st.sampled_from(["a", "b", "a.b", "a.c", "b.c.d", "total", "status"])


@given(
    st.dictionaries(names, fields.filter(lambda name: "." not in name), max_size=3),
    st.dictionaries(names, fields.filter(lambda name: "." in name), max_size=3),
    st.sets(names, max_size=3),
    st.dictionaries(fields, st.integers(), max_size=2),
)
def test_every_column_ends_in_a_field_of_its_own_or_the_mapping_is_refused(
    rename: dict[str, str], nest: dict[str, str], exclude: set[str], constants: dict[str, int]
) -> None:
    rules = {"rename": rename, "nest": nest, "exclude": sorted(exclude), "constants": constants}
    try:
        made = plan(**rules).document(ROW)
    except (ValueError, SinkError):
        return
    values = list(_leaves(made))
    assert sorted(map(str, values)) == sorted(
        [str(ROW[name]) for name in COLUMNS if name not in exclude] + [str(value) for value in constants.values()]
    )


def _leaves(value: Any) -> Any:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    else:
        yield value
