"""The elasticsearch sink against servers with both APIs: the shared suite, versions, generations, outages, refusals.

The servers are emulators (see tests/servers/elasticsearch.py). The one with OpenSearch's API keeps the version of a
deleted document, as a real server does for `index.gc_deletes`; the other forgets it at once, as a real one does after.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from differ.errors import ConfigError, SinkError, SinkUnavailableError
from differ.records import types as t
from differ.sinks.contract import Document, RefusedError
from differ.sinks.elasticsearch import ElasticsearchSink
from differ.sinks.plain import plain_document
from differ.testing.sinks import Feed, StateSinkConformance
from tests.servers import Elasticsearch, OpenSearch
from tests.servers.elasticsearch import SearchServer
from tests.servers.ports import free_port
from tests.sinks.answering import Answer, HTTPServer
from tests.sinks.feeding import changed, made


class TestElasticsearch(StateSinkConformance):
    """The shared suite, through the official client as it is."""

    sink = ElasticsearchSink
    server: ClassVar[SearchServer]
    api: ClassVar[str] = "elasticsearch"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, elasticsearch: Elasticsearch) -> None:
        cls.server = elasticsearch

    def make_options(self, folder: Path) -> Mapping[str, Any]:
        self.server.ensure()
        index = self.server.create_database() + "-{source}"
        # A document of no fixed shape is kept, not searched: its fields have values of several types.
        mappings = {"properties": {"document": {"type": "object", "enabled": False}}}
        return {"url": self.server.url(), "index": index, "api": self.api, "mappings": mappings}

    def read(self, options: Mapping[str, Any]) -> list[Document]:
        return documents(self.server, options["index"].replace("{source}", "orders"))

    def shown(self, document: Document) -> Any:
        return plain_document(document, self.feed.columns, "simple")


class TestOpenSearch(TestElasticsearch):
    """The same through the client's node for OpenSearch's API."""

    api = "opensearch"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, opensearch: OpenSearch) -> None:
        cls.server = opensearch


@pytest.fixture(params=["elasticsearch", "opensearch"])
def server(request: pytest.FixtureRequest) -> SearchServer:
    found: SearchServer = request.getfixturevalue(request.param)
    found.ensure()
    return found


@pytest.fixture
def index(server: SearchServer) -> str:
    return server.create_database()


def options(server: SearchServer, index: str, **more: Any) -> dict[str, Any]:
    return {"url": server.url(), "index": index, "api": server.name, "timeout": "5s", **more}


def documents(server: SearchServer, index: str) -> list[Document]:
    if not behind(server, index):
        return []
    server.ask("POST", f"/{index}/_refresh")
    found = server.ask("POST", f"/{index}/_search", {"query": {"match_all": {}}, "size": 1000})
    return [hit["_source"] for hit in found["hits"]["hits"]]


def behind(server: SearchServer, alias: str) -> list[str]:
    return [name for name, about in server.ask("GET", "/_alias").items() if alias in about["aliases"]]


def test_a_replay_conflicts_and_is_counted(opensearch: OpenSearch, tmp_path: Path) -> None:
    opensearch.ensure()
    index = opensearch.create_database()
    sink = made(ElasticsearchSink, tmp_path, options(opensearch, index))
    sink.open()
    feed = Feed()
    changes = [feed.put(1), feed.put(2), feed.delete(2), feed.put(1)]
    sink.apply([changes[0], changes[1]], [], feed.checkpoint(2))
    sink.apply([changes[3]], [changes[2]], feed.checkpoint(4))
    sink.apply([changes[0], changes[1]], [], feed.checkpoint(2))
    assert sink.conflicts == 2
    assert documents(opensearch, index) == [plain_document(changes[3].document or {}, feed.columns)]
    assert opensearch.ask("GET", f"/{index}/_doc/%7B%22id%22:1%7D")["_version"] == 4
    sink.close()


def test_a_replay_after_the_delete_was_forgotten_converges(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    """This server forgets a delete's version at once, as a real one does after `index.gc_deletes`."""
    elasticsearch.ensure()
    index = elasticsearch.create_database()
    sink = made(ElasticsearchSink, tmp_path, options(elasticsearch, index))
    sink.open()
    feed = Feed()
    changes = [feed.put(1), feed.put(2), feed.delete(1)]
    sink.apply([changes[1]], [changes[2]], feed.checkpoint())
    sink.apply([changes[0]], [], None)
    assert len(documents(elasticsearch, index)) == 2, "the server remembers deletes: this test shows nothing"
    sink.apply([changes[1]], [changes[2]], feed.checkpoint())
    sink.close()
    assert documents(elasticsearch, index) == [plain_document(feed.rows[2], feed.columns)]


def test_a_generation_has_an_index_of_its_own_and_the_alias_moves(
    server: SearchServer, index: str, tmp_path: Path
) -> None:
    settings = {"index": {"number_of_shards": 1}}
    sink = made(ElasticsearchSink, tmp_path, options(server, index, settings=settings))
    sink.open()
    feed = Feed()
    sink.apply([feed.put(1), feed.put(2)], [], feed.checkpoint())
    (first,) = behind(server, index)
    server.ask("POST", "/_aliases", {"actions": [{"add": {"index": first, "alias": f"{index}-of-the-user"}}]})
    feed.renew()
    feed.delete(1)
    generation = feed.generation()
    sink.begin_bootstrap(generation)
    for rows, checkpoint in feed.pages(generation, 1):
        sink.apply_bootstrap(rows, checkpoint)
    assert behind(server, index) == [first]
    assert len(documents(server, index)) == 2
    sink.end_bootstrap(generation, feed.checkpoint())
    (second,) = behind(server, index)
    assert second != first
    assert behind(server, f"{index}-of-the-user") == [second]
    assert {name for name in server.ask("GET", "/_alias") if name.startswith(index)} == {second, f"{index}-differ"}
    assert server.ask("GET", f"/{second}/_settings")[second]["settings"]["index"]["number_of_shards"] == "1"
    sink.apply([feed.put(9)], [], feed.checkpoint())
    assert len(documents(server, index)) == 2
    sink.close()


def test_events_of_another_stream_are_refused_not_ignored(server: SearchServer, index: str, tmp_path: Path) -> None:
    """Their SCNs are lower than the versions there: every write would look like a replay."""
    sink = made(ElasticsearchSink, tmp_path, options(server, index))
    sink.open()
    feed = Feed()
    sink.apply([feed.put(1), feed.put(2)], [], feed.checkpoint())
    feed.renew()
    with pytest.raises(SinkError, match="holds stream"):
        sink.apply([feed.put(1)], [], feed.checkpoint())
    sink.close()


def test_an_index_that_is_not_of_the_sink_is_left_alone(server: SearchServer, index: str, tmp_path: Path) -> None:
    server.ask("PUT", f"/{index}/_doc/1?refresh=true", {"by": "hand"})
    sink = made(ElasticsearchSink, tmp_path, options(server, index))
    sink.open()
    feed = Feed()
    for write in (
        lambda: sink.apply([feed.put(1)], [], feed.checkpoint()),
        lambda: sink.begin_bootstrap(feed.generation()),
    ):
        with pytest.raises(SinkError, match="did not make it"):
            write()
    sink.close()
    assert server.ask("GET", f"/{index}/_doc/1")["_source"] == {"by": "hand"}


def test_an_index_that_was_removed_is_not_made_again_in_silence(
    server: SearchServer, index: str, tmp_path: Path
) -> None:
    sink = made(ElasticsearchSink, tmp_path, options(server, index))
    sink.open()
    feed = Feed()
    sink.apply([feed.put(1)], [], feed.checkpoint())
    server.ask("DELETE", f"/{behind(server, index)[0]}")
    for _ in range(2):
        with pytest.raises(SinkError, match="is gone"):
            sink.apply([feed.put(2)], [], feed.checkpoint())
        sink.close()
    assert behind(server, index) == []


def test_a_server_that_is_away_for_a_while(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    elasticsearch.ensure()
    index = elasticsearch.create_database()
    sink = made(ElasticsearchSink, tmp_path, options(elasticsearch, index, timeout="2s"))
    sink.open()
    feed = Feed()
    sink.apply([feed.put(1)], [], feed.checkpoint())
    elasticsearch.stop()
    change = feed.put(2)
    with pytest.raises(SinkUnavailableError) as caught:
        sink.apply([change], [], feed.checkpoint())
    assert "name 2" not in str(caught.value)
    elasticsearch.start()
    sink.apply([change], [], feed.checkpoint())
    elasticsearch.freeze()
    change = feed.put(3)
    try:
        with pytest.raises(SinkUnavailableError):
            sink.apply([change], [], feed.checkpoint())
    finally:
        elasticsearch.thaw()
    sink.apply([change], [], feed.checkpoint())
    assert sink.load() == feed.checkpoint()
    sink.close()
    assert len(documents(elasticsearch, index)) == 3


def test_a_server_that_is_away_at_the_start(tmp_path: Path) -> None:
    sink = made(ElasticsearchSink, tmp_path, {"url": "http://127.0.0.1:1", "username": "me", "password": "very-secret"})
    with pytest.raises(SinkUnavailableError) as caught:
        sink.open()
    assert "very-secret" not in str(caught.value) + repr(sink.options)


@pytest.mark.parametrize(
    ("status", "transient"), [(401, False), (403, False), (400, False), (429, True), (503, True), (504, True)]
)
@pytest.mark.parametrize("api", ["elasticsearch", "opensearch"])
def test_what_a_server_answers_to_the_first_call(tmp_path: Path, api: str, status: int, transient: bool) -> None:
    with HTTPServer(lambda request: Answer(status, b"{}", (("content-type", "application/json"),))) as answering:
        given = {"url": answering.url, "api": api, "api_key": "very-secret"}
        sink = made(ElasticsearchSink, tmp_path, given)
        with pytest.raises(SinkError, match=str(status)) as caught:
            sink.open()
        sink.close()
    assert caught.value.transient is transient
    assert answering.requests[0].headers["authorization"] == "ApiKey very-secret"
    assert "very-secret" not in str(caught.value)


def test_refused_documents_are_named_and_the_others_written(server: SearchServer, index: str, tmp_path: Path) -> None:
    sink = made(ElasticsearchSink, tmp_path, options(server, index))
    sink.open()
    feed = Feed({"id": t.INT, "document": t.JSON})
    sink.apply([feed.put(1, document={"size": 1})], [], feed.checkpoint())
    stood = feed.checkpoint()
    changes = [feed.put(2, document={"size": 2}), feed.put(3, document={"size": {"secret": "value"}}), feed.put(4)]
    with pytest.raises(RefusedError) as caught:
        sink.apply(changes[:2], [], feed.checkpoint())
    ((refused, reason),) = caught.value.refused
    assert refused == changes[1]
    assert reason.startswith("status 400, ")
    assert "size" in reason
    assert "secret" not in str(caught.value) + reason
    assert sink.load() == stood
    assert len(documents(server, index)) == 2
    sink.close()


def test_long_keys_have_a_hash_as_id(server: SearchServer, index: str, tmp_path: Path) -> None:
    sink = made(ElasticsearchSink, tmp_path, options(server, index))
    sink.open()
    feed = Feed()
    change = changed(feed.put(1), {"name": t.STRING}, key={"name": "x" * 3000}, document={"n": 1})
    sink.apply([change], [], feed.checkpoint())
    sink.apply([change], [], feed.checkpoint())
    assert len(documents(server, index)) == 1
    sink.apply([], [changed(feed.put(1), op="delete", key=change.key, document=None)], feed.checkpoint())
    assert documents(server, index) == []
    sink.close()


def test_documents_of_mongodb_at_the_top_in_simple_form(server: SearchServer, index: str, tmp_path: Path) -> None:
    import bson

    sink = made(ElasticsearchSink, tmp_path, options(server, index, spread="document"))
    sink.open()
    feed = Feed()
    inner = {"ref": bson.ObjectId("65f000000000000000000001"), "price": bson.Decimal128("1.50"), "n": bson.Int64(2)}
    change = changed(
        feed.put(1), {"_id": t.JSON, "document": t.JSON},
        key={"_id": bson.ObjectId("65f0000000000000000000ff")}, document={"document": inner},
    )  # fmt: skip
    sink.apply([change], [], feed.checkpoint())
    sink.close()
    assert documents(server, index) == [{"ref": "65f000000000000000000001", "price": "1.50", "n": 2}]


def test_the_official_client_as_it_is_needs_the_option_for_opensearch(opensearch: OpenSearch, tmp_path: Path) -> None:
    opensearch.ensure()
    sink = made(ElasticsearchSink, tmp_path, {"url": opensearch.url(), "index": "plain"})
    with pytest.raises(SinkError):
        sink.open()


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="overwrite each other"):
        made(ElasticsearchSink, tmp_path, {"url": "http://x", "index": "all"}, sources="orders,items")
    with pytest.raises(ConfigError, match=r"options\.index"):
        made(ElasticsearchSink, tmp_path, {"url": "http://x", "index": "Capital"})


def test_a_server_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    away = f"127.0.0.1:{free_port()}"
    sink = made(ElasticsearchSink, tmp_path, {"url": f"http://user:very-secret@{away}"})
    with pytest.raises(SinkUnavailableError, match=away) as caught:
        sink.open()
    sink.close()
    assert "very-secret" not in str(caught.value)
