"""Loading a project: finding it, the documented sample, defaults, names, paths."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
import yaml

from differ.config import Limit, environment, find_project, json_schema, load
from differ.errors import ConfigError, UsageError, redact
from tests.config.conftest import Loading, Refusing

SAMPLE = """\
version: 1
storage:
  snapshots: snapshots
  state: .differ
  catalog: sqlite:///.differ/catalog.db
sources:
  orders:
    iterator: sql
    options:
      url: ${SHOP_URL:-sqlite:///shop.db}
      table: orders
    key: order_id
    columns:
      exclude: [internal_note]
      ignore: [synced_at]
      tolerance: {weight: 0.001}
      mask: {email: hmac, phone: null, city: somewhere}
    timeout: 30m
    scan: full
    snapshots: {keep: 24, delta_share: 30%, small_base: 64MiB}
    guards:
      deletes: 20%
      updates: 90%
      rows: {min: 1}
      confirm_deletes: auto
    on_schema_change: evolve
    baseline: events
  order_items:
    iterator: sql
    options: {url: "${SHOP_URL:-sqlite:///shop.db}", table: order_items}
  order_view:
    iterator: order_view
    schedule: {cron: "*/5 * * * *", timezone: Europe/Berlin}
consistency_groups:
  shop: {sources: [orders, order_items], schedule: {every: 5m, jitter: 10s}}
relay:
  listen: 127.0.0.1:7070
  retention: {age: 7d, size: 10GiB, hold_for_consumers: 20GiB}
  tokens: {read: env:DIFFER_READ_TOKEN, consume: env:DIFFER_CONSUME_TOKEN, admin: env:DIFFER_ADMIN_TOKEN}
sinks:
  search:
    kind: elasticsearch
    sources: [orders]
    options: {url: "http://127.0.0.1:9200", index: orders}
    mapping: {rename: {total: amount}, exclude: [internal], nest: {customer_name: customer.name}}
executor: {kind: local, workers: auto, memory: 1GiB}
"""
VARIABLES = {
    "DIFFER_MASK_KEY": "the-mask-key",
    "DIFFER_READ_TOKEN": "read-token",
    "DIFFER_CONSUME_TOKEN": "consume-token",
    "DIFFER_ADMIN_TOKEN": "admin-token",
}


def test_the_documented_sample_loads(loading: Loading, tmp_path: Path) -> None:
    settings = loading(SAMPLE, **VARIABLES)
    assert settings.project == tmp_path
    assert settings.storage.snapshots == tmp_path / "snapshots"
    assert settings.storage.catalog == f"sqlite:///{tmp_path}/.differ/catalog.db"
    orders = settings.source("orders")
    assert (orders.name, orders.iterator, orders.key) == ("orders", "sql", ("order_id",))
    assert orders.options == {"url": "sqlite:///shop.db", "table": "orders"}
    assert orders.columns.tolerance == {"weight": Decimal("0.001")}
    assert orders.columns.mask == {"email": "hmac", "phone": None, "city": "somewhere"}
    assert orders.mask_key == "the-mask-key"
    assert orders.timeout_seconds == 1800
    assert (orders.snapshots.keep, orders.snapshots.delta_share) == (24, 0.3)
    assert orders.snapshots.small_base_bytes == 64 * 2**20
    view = settings.source("order_view").schedule
    assert view is not None
    assert (view.every_seconds, view.cron, view.timezone) == (None, "*/5 * * * *", "Europe/Berlin")
    assert settings.source("order_view").mask_key is None
    group = settings.group("shop")
    assert group.sources == ("orders", "order_items")
    assert group.schedule is not None
    assert (group.schedule.every_seconds, group.schedule.jitter_seconds) == (300, 10)
    assert settings.group_of("orders") is group
    assert settings.group_of("order_view") is None
    assert settings.relay.tokens.admin == "admin-token"
    assert settings.relay.retention.age_seconds == 7 * 86400
    assert settings.sinks["search"].mapping.nest == {"customer_name": "customer.name"}
    assert (settings.executor.workers, settings.executor.memory_bytes) == ("auto", 2**30)


def test_the_sample_passes_the_json_schema_and_a_typo_does_not() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(validator.schema)
    body = yaml.safe_load(SAMPLE)
    validator.validate(body)
    body["sources"]["orders"]["guard"] = {}
    assert not validator.is_valid(body)


def test_what_the_sample_spells_out_is_the_default(loading: Loading) -> None:
    short = loading("sources: {orders: {iterator: sql}}")
    long = loading(SAMPLE, **VARIABLES)
    assert short.source("orders").guards == long.source("orders").guards
    # All but one: what the sample says of small bases is more than was measured to be good.
    snapshots = long.source("orders").snapshots.model_copy(update={"small_base_bytes": 16 * 2**20})
    assert short.source("orders").snapshots == snapshots
    assert short.storage == long.storage
    assert short.executor == long.executor
    assert short.relay.retention == long.relay.retention
    assert short.relay.tokens.read is None
    assert short.source("orders").guards.deletes == Limit(share=Decimal("0.2"))


def test_settings_do_not_change(loading: Loading) -> None:
    settings = loading(SAMPLE, **VARIABLES)
    with pytest.raises(ValueError, match="frozen"):
        settings.source("orders").guards.deletes = Limit(count=1)  # type: ignore[misc]


def test_secrets_are_not_in_the_repr(loading: Loading) -> None:
    text = repr(loading(SAMPLE, **VARIABLES))
    assert not [value for value in VARIABLES.values() if value in text]


def test_the_nearest_folder_above_is_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scheduler.yaml").write_text("sources: {orders: {iterator: sql}}")
    inside = tmp_path / "iterators" / "deep"
    inside.mkdir(parents=True)
    assert find_project(inside) == tmp_path
    monkeypatch.chdir(inside)
    assert load(environ={}).project == tmp_path


def test_no_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_project(tmp_path)
    assert "differ init" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={})
    assert str(tmp_path) in caught.value.message
    assert "differ init" in str(caught.value)


def test_an_unknown_source_or_group_gets_the_nearest_name(loading: Loading) -> None:
    settings = loading(SAMPLE, **VARIABLES)
    with pytest.raises(UsageError, match="did you mean 'orders'"):
        settings.source("order")
    with pytest.raises(UsageError, match="did you mean 'shop'"):
        settings.group("shopp")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sqlite:///a.db", "sqlite:///{project}/a.db"),
        ("sqlite:////abs/a.db", "sqlite:////abs/a.db"),
        ("sqlite+pysqlite:///x/a.db?timeout=3", "sqlite+pysqlite:///{project}/x/a.db?timeout=3"),
        ("postgresql+psycopg://u:secretword@h/db", "postgresql+psycopg://u:secretword@h/db"),
    ],
)
def test_a_relative_catalog_starts_from_the_project(loading: Loading, tmp_path: Path, given: str, kept: str) -> None:
    assert loading(f"storage: {{catalog: '{given}'}}").storage.catalog == kept.format(project=tmp_path)


@pytest.mark.parametrize(
    "given", ["sqlite://", "sqlite:///:memory:", "catalog.db", "sqlite:///", "", "sqlite://host/x"]
)
def test_a_catalog_that_cannot_last_is_refused(refused: Refusing, given: str) -> None:
    assert "storage.catalog: expected a" in refused(f"storage: {{catalog: '{given}'}}")


def test_the_catalogs_password_is_hidden(loading: Loading) -> None:
    loading("storage: {catalog: 'postgresql://u:secret%20word@h/db'}")
    assert redact("refused for 'secret word' (secret%20word)") == "refused for '***' (***)"


def test_object_storage_says_that_it_comes_later(refused: Refusing) -> None:
    assert "comes with scale-out" in refused("storage: {snapshots: s3://bucket/prefix}")


def test_the_mask_key_comes_from_the_environment_and_is_a_secret() -> None:
    assert environment({"DIFFER_MASK_KEY": "hunter2hunter2"}).mask_key == "hunter2hunter2"
    assert "hunter2" not in redact("key hunter2hunter2")
    assert environment({"DIFFER_MASK_KEY": ""}).mask_key is None


def test_the_package_is_imported_without_its_heavy_parts() -> None:
    program = "import sys, differ.config; print({'pydantic', 'yaml', 'apscheduler'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
