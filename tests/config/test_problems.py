"""Everything that can be wrong in a file names file, line, key and what would be right."""

import os
from pathlib import Path

import pytest

from differ.config import load
from differ.errors import ConfigError
from tests.config.conftest import Loading, Refusing


def in_source(line: str) -> str:
    return f"sources:\n  orders:\n    iterator: sql\n    {line}\n"


def test_an_unknown_key_names_file_line_path_and_the_nearest_key(refused: Refusing) -> None:
    text = in_source("guard: {deletes: 20%}")
    assert refused(text) == "scheduler.yaml line 4: sources.orders.guard: unknown key; did you mean 'guards'?"


@pytest.mark.parametrize(
    ("text", "path", "nearest"),
    [
        ("source: {}", "source", "sources"),
        ("storage: {snapshot: x}", "storage.snapshot", "snapshots"),
        (in_source("timeout_seconds: 3"), "sources.orders.timeout_seconds", "timeout"),
        (in_source("schedule: {evry: 5m}"), "sources.orders.schedule.evry", "every"),
        (in_source("columns: {ignored: [a]}"), "sources.orders.columns.ignored", "ignore"),
        (in_source("snapshots: {keeps: 1}"), "sources.orders.snapshots.keeps", "keep"),
        (in_source("guards: {delete: 1}"), "sources.orders.guards.delete", "deletes"),
        (in_source("guards: {rows: {mni: 1}}"), "sources.orders.guards.rows.mni", "min"),
        ("consistency_groups: {g: {source: [a]}}", "consistency_groups.g.source", "sources"),
        ("relay: {listens: x}", "relay.listens", "listen"),
        ("relay: {retention: {sizes: 1}}", "relay.retention.sizes", "size"),
        ("relay: {tokens: {reader: x}}", "relay.tokens.reader", "read"),
        ("sinks: {s: {kind: k, sources: [a], option: {}}}", "sinks.s.option", "options"),
        ("sinks: {s: {kind: k, sources: [a], mapping: {renam: {}}}}", "sinks.s.mapping.renam", "rename"),
        ("executor: {worker: 1}", "executor.worker", "workers"),
    ],
)
def test_every_section_refuses_unknown_keys(refused: Refusing, text: str, path: str, nearest: str) -> None:
    assert f"{path}: unknown key; did you mean {nearest!r}?" in refused(text)


@pytest.mark.parametrize("key", ["name", "(name)x", "mask_key"])
def test_what_loading_fills_in_is_no_key_of_the_file(refused: Refusing, key: str) -> None:
    assert "unknown key" in refused(in_source(f"{key}: x"))


def test_an_unknown_key_with_nothing_near_lists_what_is_valid(refused: Refusing) -> None:
    assert "valid here: kind, memory, workers" in refused("executor: {zzz: 1}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2", "version: expected 1"),
        ("sources: [orders]", "sources: expected a mapping such as {orders:"),
        ("sources: {orders: sql}", "sources.orders: expected a mapping"),
        ("sources: {orders: }", "sources.orders: expected a mapping such as {orders: {iterator: sql"),
        ("sources: {orders: {}}", "sources.orders.iterator: is required such as sql"),
        ("sources: {orders: {iterator: 5}}", "iterator: expected text such as sql, got a number; put it in quotes"),
        ("sources: {orders: {iterator: true}}", "iterator: expected text such as sql, got true; put it in quotes"),
        (in_source("timeout: soon"), "timeout: expected a duration up to ten years such as 30s"),
        (in_source("timeout: 100w100w100w100w100w100w"), "timeout: expected a duration up to ten years"),
        (in_source("timeout: true"), "got true"),
        (in_source("key: 5"), "key: expected a list such as order_id, got a number"),
        (in_source("key: [a, 5]"), "key[1]: expected text"),
        (in_source("key: [a, a]"), "key: 'a' is given twice"),
        (in_source("key: ['']"), "key: a name is empty"),
        (in_source("scan: half"), "scan: expected 'full' or 'checksum', got 'half'"),
        (in_source("on_schema_change: yes"), "on_schema_change: expected 'evolve', 'hold' or 'fail', got 'yes'"),
        (in_source("baseline: none"), "baseline: expected 'events' or 'snapshot-only'"),
        (in_source("snapshots: {keep: 0}"), "snapshots.keep: expected a whole number of at least 1"),
        (in_source("snapshots: {keep: true}"), "snapshots.keep: expected a whole number such as 24, got true"),
        (in_source("snapshots: {keep: 2.5}"), "snapshots.keep: expected a whole number"),
        (in_source("snapshots: {delta_share: 130%}"), "snapshots.delta_share: expected a share such as 30%"),
        (in_source("snapshots: {small_base: big}"), "snapshots.small_base: expected a size such as 64MiB"),
        (in_source("guards: {deletes: lots}"), "guards.deletes: expected a share of the rows such as 20%"),
        (in_source("guards: {deletes: -1}"), "guards.deletes: expected a share of the rows"),
        (in_source("guards: {updates: 200%}"), "guards.updates: expected a share of the rows"),
        (in_source("guards: {rows: {min: 5, max: 2}}"), "guards.rows: 'max' is smaller than 'min'"),
        (in_source("guards: {rows: {change: x}}"), "guards.rows.change: expected a share"),
        (in_source("guards: {confirm_deletes: yes}"), "confirm_deletes: expected 'auto', 'always' or 'never'"),
        (in_source("columns: {tolerance: {w: -1}}"), "columns.tolerance.w: expected a number above 0"),
        (in_source("columns: {mask: {a: 1}}"), "columns.mask.a: expected text"),
        (in_source("options: 5"), "options: expected a mapping such as"),
        (in_source("schedule: {}"), "schedule: exactly one of 'every' and 'cron' is needed"),
        (in_source("schedule: {every: 5m, cron: '* * * * *'}"), "schedule: exactly one of 'every' and 'cron'"),
        (in_source("schedule: {every: 0.1s}"), "schedule: 'every' is at least 1s"),
        (in_source("schedule: {every: 5m, jitter: 5m}"), "schedule: 'jitter' must be shorter than 'every'"),
        (in_source("schedule: {every: 5m, timezone: Europe/Atlantis}"), "unknown time zone 'Europe/Atlantis'"),
        (in_source("schedule: {every: 5m, timezone: ../../etc/passwd}"), "unknown time zone"),
        (in_source("schedule: {every: 5m, timezone: Europe}"), "unknown time zone 'Europe'"),
        (in_source("schedule: {cron: yes}"), "schedule.cron: expected a cron expression of five fields"),
        (in_source("schedule: {cron: '61 * * * *'}"), "schedule.cron: cron minute: '61' is not between 0 and 59"),
        (in_source("schedule: {cron: '0 0 30 2 *'}"), "never fires"),
        ("relay: {listen: 7070}", "relay.listen: expected text such as 127.0.0.1:7070, got a number"),
        ("relay: {listen: localhost}", "relay.listen: expected host:port such as 127.0.0.1:7070"),
        ("relay: {listen: 'h:99999'}", "relay.listen: expected host:port"),
        ("executor: {workers: many}", "executor.workers"),
        ("executor: {workers: 0}", "executor.workers"),
        ("executor: {kind: dask}", "executor.kind: 'dask' is not available in this version"),
        ("sources: {Orders: {iterator: sql}}", "sources.Orders: a name is 1 to 63 small letters"),
        ("sources: {1: {iterator: sql}}", "sources.1: a name is"),
        ("sinks: {a-b: {kind: k, sources: [x]}}", "sinks.a-b: a name is"),
        (f"sources: {{a{'b' * 63}: {{iterator: sql}}}}", "a name is 1 to 63 small letters"),
    ],
)
def test_a_wrong_value_says_what_is_expected(refused: Refusing, text: str, said: str) -> None:
    message = refused(text)
    assert said in message
    assert message.startswith("scheduler.yaml line ")


def test_all_problems_are_told_in_the_files_order_up_to_ten(refused: Refusing) -> None:
    text = "sources:\n" + "".join(f"  s{index}: {{iterator: sql, wrong{index}: 1}}\n" for index in range(12))
    lines = refused(text).splitlines()
    assert lines[0] == "scheduler.yaml: 12 problems"
    assert [line.split(":")[0].strip() for line in lines[1:11]] == [f"line {number}" for number in range(2, 12)]
    assert lines[11].strip() == "and 2 more"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("exclude: [id]", "columns.exclude.id: 'id' is part of the key"),
        ("ignore: [id]", "columns.ignore.id: 'id' is part of the key"),
        ("tolerance: {id: 1}", "columns.tolerance.id: 'id' is part of the key"),
        ("mask: {id: x}", "columns.mask.id: 'id' is part of the key"),
        ("exclude: [a], ignore: [a]", "columns.ignore.a: column 'a' is in 'exclude' as well"),
        ("ignore: [a], tolerance: {a: 1}", "columns.tolerance.a: column 'a' is in 'ignore' as well"),
        ("exclude: [a], tolerance: {a: 1}", "columns.tolerance.a: column 'a' is in 'exclude' as well"),
        ("exclude: [a], mask: {a: x}", "columns.mask.a: column 'a' is in 'exclude' as well"),
        ("mask: {a: hmac}", "columns.mask: 'hmac' needs a key; set the environment variable DIFFER_MASK_KEY"),
    ],
)
def test_a_column_has_one_treatment_and_a_key_column_none(refused: Refusing, columns: str, said: str) -> None:
    assert said in refused(in_source(f"key: id\n    columns: {{{columns}}}"))


def test_a_masked_column_may_be_ignored(loading: Loading) -> None:
    settings = loading(in_source("columns: {ignore: [a], mask: {a: x}}"))
    assert settings.source("orders").columns.mask == {"a": "x"}


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("g: {sources: [order]}", "line 5: consistency_groups.g.sources[0]: unknown source 'order'; did you mean"),
        ("g: {sources: []}", "consistency_groups.g.sources"),
        ("g: {schedule: {every: 5m}}", "consistency_groups.g.sources: is required"),
        ("g: {sources: orders}, h: {sources: [items, orders]}", "h.sources[1]: source 'orders' is in group 'g'"),
    ],
)
def test_groups_must_make_sense(refused: Refusing, groups: str, said: str) -> None:
    text = (
        "sources:\n  orders: {iterator: sql}\n  items: {iterator: sql}\n"
        f"  timed: {{iterator: sql, schedule: {{every: 5m}}}}\nconsistency_groups: {{{groups}}}\n"
    )
    assert said in refused(text)


def test_a_sink_follows_known_sources(refused: Refusing) -> None:
    assert "sinks.s.sources[0]: unknown source 'x'; none is defined" in refused("sinks: {s: {kind: k, sources: [x]}}")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n- b\n", "line 1: expected a mapping of settings, got a list"),
        (b"hello", "expected a mapping of settings, got 'hello'"),
        (b"a: b: c\n", "line 1, column 5: not valid YAML"),
        (b"a:\n\t- b\n", "line 2, column 1: not valid YAML"),
        (b"a: [1, 2\n", "not valid YAML"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: 1\nb: \xff\xfe\n", "line 2: not UTF-8"),
        (b"version: 1\nversion: 1\n", "line 2, column 1: key 'version' was given already on line 1"),
        (b"version: 1\n---\nversion: 1\n", "a second document"),
        (b"version: !!python/object:os.system 1\n", "line 1, column 10: tags such as"),
        (b"sources: *none\n", "alias *none has no complete anchor"),
        (b"sources: &a {x: *a}\n", "alias *a has no complete anchor"),
        (b"? [a]\n: 1\n", "a key must be plain text"),
        (b"sources: {a: {<<: 5}}\n", "<< merges mappings only"),
        (b"a: " + b"[" * 60 + b"]" * 60, "nested deeper"),
        (b"# " + b"x" * 2**20, "larger than 1 MiB"),
    ],
)
def test_what_is_no_proper_yaml_is_told_with_its_place(tmp_path: Path, body: bytes, said: str) -> None:
    (tmp_path / "scheduler.yaml").write_bytes(body)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={})
    assert said in caught.value.message


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "scheduler.yaml").symlink_to("/proc/self/mem")
    else:
        (tmp_path / "scheduler.yaml").write_text("version: 1")
        (tmp_path / "scheduler.yaml").chmod(0)
    with pytest.raises(ConfigError, match=r"read .*scheduler\.yaml: "):
        load(tmp_path, environ={})
