"""/metrics and Graphite: what a scraper is given, what survives what, and that every metric is documented."""

import re
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from differ.server.measured import METRICS
from tests.cli.shop import Shop, table
from tests.runtime.running import call, running
from tests.servers.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Values:
    """Every sample by its name and labels; each must be of a known metric, with its kind, help and labels."""
    found: Values = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        spec = METRICS[name]
        assert (family.type, family.documentation) == (spec.kind, spec.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(spec.labels)
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def measure_until(url: str, value: float, name: str, **labels: str) -> Values:
    """Scrape until a metric has a value; the test's own timeout is the limit."""
    while True:
        measured = parsed(call(f"{url}/metrics").text)
        if measured.get((name, labelled(**labels))) == value:
            return measured


def test_counters_survive_restarts_and_count_scans_by_cron(shop: Shop) -> None:
    shop.configure({"orders": table("orders")}, relay={"listen": "127.0.0.1:0"})
    shop.ok("scan", "--all")
    with running(shop, "--only", "relay,bootstrap") as process:
        url = process.serves()
        before = parsed(call(f"{url}/metrics").text)
        assert before["differ_events_total", labelled(source="orders", op="insert")] == 5
        shop.sql("DELETE FROM orders WHERE id = 5", "UPDATE orders SET status = 'sent' WHERE id = 1")
        shop.ok("scan", "--all")
        shop.ok("scan", "--all")
        assert call(f"{url}/v1/stream?since=0").status == 200
        assert call(f"{url}/v1/stream?since=99").status == 409
        assert call(f"{url}/v1/consumers/one").status == 404
        assert call(f"{url}/nothing/here").status == 404
        assert call(f"{url}/nothing/else", "BREW").status == 404
        after = parsed(call(f"{url}/metrics").text)
        expected = {
            ("differ_scans_total", labelled(source="orders", status="committed")): 2,
            ("differ_scans_total", labelled(source="orders", status="unchanged")): 1,
            ("differ_scan_rows_total", labelled(source="orders")): 13,
            ("differ_events_total", labelled(source="orders", op="insert")): 5,
            ("differ_events_total", labelled(source="orders", op="update")): 1,
            ("differ_events_total", labelled(source="orders", op="delete")): 1,
            ("differ_cycle_duration_seconds_count", labelled(source="orders")): 3,
            ("differ_source_rows", labelled(source="orders")): 4,
            ("differ_source_held", labelled(source="orders")): 0,
            ("differ_relay_head_scn", ()): 7,
            ("differ_relay_oldest_scn", ()): 1,
            ("differ_stream_requests_total", labelled(status="200")): 1,
            ("differ_stream_requests_total", labelled(status="409")): 1,
            ("differ_http_requests_total", labelled(call="GET /v1/consumers/{name}", status="404")): 1,
            ("differ_http_requests_total", labelled(call="other", status="404")): 2,
            ("differ_module_up", labelled(module="relay")): 1,
        }
        assert {name: after[name] for name in expected} == expected
        assert after["differ_sent_bytes_total", labelled(format="ndjson")] > 0
        assert (
            after["differ_disk_bytes", labelled(kind="segments")]
            > before["differ_disk_bytes", labelled(kind="segments")]
        )
        succeeded = ("differ_cycle_last_success_timestamp_seconds", labelled(source="orders"))
        assert after[succeeded] > before[succeeded]
    with running(shop, "--only", "relay") as process:
        again = parsed(call(f"{process.serves()}/metrics").text)
    totals = [name for name in expected if name[0].startswith(("differ_scan", "differ_events", "differ_cycle"))]
    assert {name: again[name] for name in totals} == {name: expected[name] for name in totals}


def test_consumers_sinks_and_modules_are_measured(shop: Shop) -> None:
    port = free_port()
    shop.configure(
        {"orders": table("orders")},
        relay={"listen": f"127.0.0.1:{port}"},
        sinks={"copy": {"kind": "sql", "sources": ["orders"], "options": {"url": "sqlite:///copy.db"}}},
    )
    shop.ok("scan", "--all")
    with running(shop, "--only", "relay,bootstrap") as relay, running(shop, "--only", "sinks") as sinks:
        url = relay.serves()
        sinks.wait_for("module sinks.copy: running")
        measure_until(url, 1, "differ_sink_bootstraps_total", sink="copy")
        shop.sql("INSERT INTO orders VALUES (6, 'new')")
        shop.ok("scan", "--all")
        measure_until(url, 6, "differ_sink_written_total", sink="copy", op="upsert")
        measured = measure_until(url, 6, "differ_consumer_scn", consumer="sink.copy")
        assert measured["differ_consumer_lag_events", labelled(consumer="sink.copy")] == 0
        assert measured["differ_sink_bootstraps_total", labelled(sink="copy")] == 1
        assert measured["differ_module_up", labelled(module="sinks.copy")] == 1
        listed = shop.ok("consumers", "list", "--json").document["consumers"]
        assert [(one["name"], one["kind"], one["behind"]["events"]) for one in listed] == [("sink.copy", "sink", 0)]
        shop.ok("modules", "stop", "sinks")
        shop.sql("INSERT INTO orders VALUES (7, 'new'), (8, 'new')")
        shop.ok("scan", "--all")
        measured = parsed(call(f"{url}/metrics").text)
        assert measured["differ_consumer_lag_events", labelled(consumer="sink.copy")] == 2
        assert measured["differ_consumer_lag_seconds", labelled(consumer="sink.copy")] > 0
        assert measured["differ_module_up", labelled(module="sinks.copy")] == 0


def test_reading_metrics_needs_a_right_where_tokens_are_set(shop: Shop) -> None:
    tokens = {"read": "token-read-1", "consume": "token-consume-1", "admin": "token-admin-1"}
    shop.configure({"orders": table("orders")}, relay={"listen": "127.0.0.1:0", "tokens": tokens})
    with running(shop, "--only", "relay") as process:
        url = process.serves()
        assert call(f"{url}/metrics").status == 401
        assert call(f"{url}/metrics", token="token-read-1").status == 200
        assert call(f"{url}/healthz").status == 200


def test_graphite_is_sent_everything(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        shop.configure(
            {"orders": table("orders")},
            relay={"listen": "127.0.0.1:0"},
            metrics={"graphite": f"127.0.0.1:{server.getsockname()[1]}", "prefix": "shop.differ", "every": "1s"},
        )
        shop.ok("scan", "--all")
        with running(shop, "--only", "relay") as process:
            process.serves()
            for _ in range(2):
                connection, _ = server.accept()
                with connection, connection.makefile() as lines:
                    found = {line.split(" ")[0]: line.split(" ")[1] for line in lines}
                assert found["shop.differ.differ_events_total.op.insert.source.orders"] == "5.0"
                assert found["shop.differ.differ_relay_head_scn"] == "5.0"
            server.close()
            process.wait_for("metrics: not sent to Graphite at 127.0.0.1")


def test_every_metric_is_documented_as_it_is() -> None:
    rows = re.findall(r"^\| `(differ_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE)
    documented = {name: (kind, labels.strip(), help_text.strip()) for name, kind, labels, help_text in rows}
    assert documented == {
        name: (spec.kind, ", ".join(f"`{label}`" for label in spec.labels), spec.help) for name, spec in METRICS.items()
    }


@pytest.mark.parametrize("name", METRICS)
def test_names_follow_the_conventions(name: str) -> None:
    spec = METRICS[name]
    assert re.fullmatch(r"differ_[a-z][a-z0-9_]*", name)
    assert name.endswith("_total") is (spec.kind == "counter")
    assert spec.help.endswith(".")
