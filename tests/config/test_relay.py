"""Where the relay listens and is reached, and how long a bootstrap's lease is."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from differ.config import Settings, load
from differ.errors import ConfigError


def settings(folder: Path, **sections: Any) -> Settings:
    (folder / "scheduler.yaml").write_text(yaml.safe_dump({"version": 1, **sections}))
    return load(folder, environ={})


def test_the_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert (found.relay.listen, found.relay.reach) == ("127.0.0.1:7070", "http://127.0.0.1:7070")
    assert (found.bootstrap.listen, found.bootstrap.url, found.bootstrap.lease_seconds) == ("127.0.0.1:7071", None, 600)
    assert (found.metrics.graphite, found.metrics.prefix, found.metrics.every_seconds) == (None, "differ", 60)


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("[::1]:80", "http://[::1]:80"),
        ("relay.example.net:7070", "http://relay.example.net:7070"),
    ],
)
def test_where_a_port_is_reached(tmp_path: Path, listen: str, reached: str) -> None:
    assert settings(tmp_path, relay={"listen": listen}).relay.reach == reached
    assert settings(tmp_path, relay={"listen": listen, "url": "https://r/x"}).relay.reach == "https://r/x"


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("relay", "url", "relay:7070"),
        ("relay", "url", "http://relay:7070/"),
        ("relay", "url", "http://user:word@relay:7070"),
        ("bootstrap", "url", "ftp://relay"),
        ("bootstrap", "lease", "10ms"),
        ("bootstrap", "listen", "7071"),
        ("metrics", "graphite", "graphite"),
        ("metrics", "prefix", "a..b"),
        ("metrics", "prefix", "a b"),
        ("metrics", "every", "0s"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, section: str, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=section):
        settings(tmp_path, **{section: {key: value}})
