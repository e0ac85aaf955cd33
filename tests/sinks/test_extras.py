"""A sink whose driver is not installed can be configured and checked; opening it names the extra."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from differ.errors import UsageError
from differ.sinks.contract import Sink
from differ.sinks.elasticsearch import ElasticsearchSink
from differ.sinks.kafka import KafkaSink
from differ.sinks.nats import NatsSink
from tests.sinks.feeding import made

KINDS: list[tuple[type[Sink], str, str, dict[str, Any]]] = [
    (ElasticsearchSink, "elasticsearch", "elasticsearch", {"url": "http://127.0.0.1:1"}),
    (KafkaSink, "confluent_kafka", "kafka", {"servers": "127.0.0.1:1"}),
    (NatsSink, "nats", "nats", {"servers": "nats://127.0.0.1:1", "stream": "S"}),
]


@pytest.mark.parametrize(("kind", "module", "extra", "options"), KINDS, ids=[extra for _, _, extra, _ in KINDS])
def test_a_missing_driver_is_named_with_its_extra(
    kind: type[Sink], module: str, extra: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    sink = made(kind, tmp_path, options)
    with pytest.raises(UsageError) as caught:
        sink.open()
    assert caught.value.hint == f"run: pip install 'differ-cdc[{extra}]'"
    sink.close()


def test_the_sinks_are_known_without_their_drivers() -> None:
    program = """
import sys
from pathlib import Path
from differ.sinks.registry import BUILT_IN, sink_class
for kind in BUILT_IN:
    sink_class(kind, Path("."))
print(*{"elasticsearch", "confluent_kafka", "nats", "urllib3", "pymongo"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
