"""A sink's process that is killed at any moment, with destinations whose checkpoint is written after the data."""

import random
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient

from tests.server.eventually import eventually
from tests.servers import Elasticsearch
from tests.sinks.killing import process, shuffled
from tests.sinks.rig import Rig

ROWS = 1_000


def killed(
    rig: Rig, kind: str, options: dict[str, Any], checkpoint: Callable[[], Any], state: Callable[[], dict[int, int]]
) -> None:
    """Kill the sink each time it has written a checkpoint, while the source changes; then let it come to the end."""
    chance = random.Random(7)
    rows = {n: n for n in range(ROWS)}
    rig.world.commit("orders", [{"id": n, "v": v} for n, v in rows.items()])
    sink = {
        "kind": kind, "sources": ["orders"], "options": options, "lease": "1s", "batch": {"events": 100},
        "retries": {"first": "1ms", "longest": "10ms"},
    }  # fmt: skip
    for _ in range(3):
        before = checkpoint()
        with process(rig, sink):
            eventually(lambda before=before: checkpoint() not in (before, None))
        rig.world.commit("orders", shuffled(rows, chance, changed=200, fresh=ROWS))
    with process(rig, sink):
        eventually(lambda: state() == rows)


@pytest.mark.crash
@pytest.mark.slow
def test_mongodb(rig: Rig, mongodb_url: str) -> None:
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        database = client.get_default_database()
        database["orders"].insert_many([{"_id": -n, "v": n} for n in range(1, 50)])

        def checkpoint() -> Any:
            return (database["differ_checkpoints"].find_one() or {}).get("checkpoint")

        def state() -> dict[int, int]:
            return {document["_id"]: document["v"] for document in database["orders"].find()}

        killed(rig, "mongodb", {"url": mongodb_url}, checkpoint, state)
        assert sorted(database.list_collection_names()) == ["differ_checkpoints", "orders"]


@pytest.mark.crash
@pytest.mark.slow
def test_elasticsearch(rig: Rig, elasticsearch: Elasticsearch) -> None:
    elasticsearch.ensure()
    index = elasticsearch.create_database()

    def ask(path: str, body: Any = None) -> Any:
        try:
            return elasticsearch.ask("GET" if body is None else "POST", path, body)
        except urllib.error.HTTPError:
            return {}

    def checkpoint() -> Any:
        return ask(f"/{index}-differ/_doc/mirror").get("_source", {}).get("checkpoint")

    def state() -> dict[int, int]:
        ask(f"/{index}/_refresh", {})
        found = ask(f"/{index}/_search", {"query": {"match_all": {}}, "size": 10_000}).get("hits", {"hits": []})
        return {hit["_source"]["id"]: hit["_source"]["v"] for hit in found["hits"]}

    killed(rig, "elasticsearch", {"url": elasticsearch.url(), "index": index}, checkpoint, state)
    indices = [name for name in elasticsearch.ask("GET", "/_alias") if name.startswith(index)]
    assert len(indices) == 2, indices
    elasticsearch.drop_database(index)
