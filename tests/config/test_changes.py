"""What changed between two configurations is told key by key, and no secret is told."""

from pathlib import Path
from typing import Any

import yaml

from differ.config import Settings, load
from differ.config.changes import changes


def settings(folder: Path, **more: Any) -> Settings:
    base = {"version": 1, "sources": {"orders": {"iterator": "sql", "options": {"url": "sqlite:///a.db"}}}}
    (folder / "scheduler.yaml").write_text(yaml.safe_dump(base | more))
    return load(folder, environ={"SECRET": "a-secret-1", "OTHER": "a-secret-2"})


def told(old: Settings, new: Settings) -> list[str]:
    return [change.text for change in changes(old, new)]


def test_nothing_changed(tmp_path: Path) -> None:
    assert changes(settings(tmp_path), settings(tmp_path, relay={"listen": "127.0.0.1:7070"})) == []


def test_each_key_is_told(tmp_path: Path) -> None:
    old = settings(tmp_path, relay={"retention": {"age": "7d"}}, sinks={"a": {"kind": "files", "sources": ["orders"]}})
    new = settings(
        tmp_path,
        relay={"retention": {"age": "1h"}, "url": "http://relay:7070"},
        sinks={"b": {"kind": "files", "sources": ["orders"]}},
        executor={"workers": 3},
    )
    assert told(old, new) == [
        "relay.url: http://relay:7070, was not set",
        "relay.retention.age: 604800s -> 3600s",
        "sinks.b: new",
        "sinks.a: removed",
        "executor.workers: auto -> 3",
    ]
    assert [change.path for change in changes(old, new)][1] == ("relay", "retention", "age")


def test_a_changed_secret_is_told_as_changed(tmp_path: Path) -> None:
    def with_url(url: str) -> Settings:
        return settings(tmp_path, sources={"orders": {"iterator": "sql", "options": {"url": url}}})

    hidden = "sources.orders.options.url: changed (a secret)"
    assert told(with_url("postgresql://u:first-1@h/d"), with_url("postgresql://u:second-2@h/d")) == [hidden]
    by_reference = told(with_url("env:SECRET"), with_url("env:OTHER"))
    assert by_reference == ["sources.orders.options.url: env:SECRET -> env:OTHER"]


def test_lists_and_truths_are_written_as_in_the_file(tmp_path: Path) -> None:
    one = settings(tmp_path, sources={"orders": {"iterator": "sql", "key": ["a"], "options": {"flag": True}}})
    two = settings(tmp_path, sources={"orders": {"iterator": "sql", "key": ["a", "b"], "options": {"flag": False}}})
    assert told(one, two) == [
        "sources.orders.options.flag: true -> false",
        "sources.orders.key: [a] -> [a, b]",
    ]
