"""`differ events`: every format, every filter, following; and what it refuses."""

import io
import signal
import subprocess
import threading
from pathlib import Path

import fastavro
import pyarrow as pa
import pytest

from tests.cli.shop import COMMAND, Shop, table
from tests.cli.test_scan import two


@pytest.fixture
def busy_shop(shop: Shop) -> Shop:
    """Orders 1..5 and items (SCN 1..7), then updates of both (8..9)."""
    two(shop)
    shop.ok("scan", "--all")
    shop.sql("UPDATE orders SET status = 'shipped' WHERE id = 2", "UPDATE items SET qty = 9 WHERE region = 'us'")
    shop.ok("scan", "--all")
    return shop


def scns(shop: Shop, *arguments: str) -> list[int]:
    return [event["scn"] for event in shop.ok("events", "--json", *arguments).lines]


def test_filters(busy_shop: Shop) -> None:
    assert scns(busy_shop) == list(range(1, 10))
    assert scns(busy_shop, "--since", "7") == [8, 9]
    assert scns(busy_shop, "--since", "2", "--until", "4") == [3, 4]
    assert scns(busy_shop, "--limit", "3") == [1, 2, 3]
    assert scns(busy_shop, "--limit", "0") == []
    assert scns(busy_shop, "--source", "items") == [6, 7, 9]
    assert scns(busy_shop, "--source", "items", "--source", "orders") == list(range(1, 10))
    assert scns(busy_shop, "--source", "orders", "--key", "2") == [2, 8]
    assert scns(busy_shop, "--source", "items", "--key", "region=us,id=1") == [7, 9]
    assert scns(busy_shop, "--source", "items", "--key", '{"region":"us","id":1}') == [7, 9]


def test_the_table_is_one_record_a_line_and_whole(busy_shop: Shop) -> None:
    long = "x" * 300
    busy_shop.sql(f"UPDATE orders SET status = '{long}\x1b[31m' WHERE id = 3")
    busy_shop.ok("scan", "--source", "orders")
    lines = busy_shop.ok("events", "--since", "7").out.splitlines()
    assert lines[0].split() == ["scn", "op", "source", "key", "change"]
    assert lines[1].split(maxsplit=4) == ["8", "update", "orders", "2", "status: paid -> shipped"]
    assert lines[3].endswith(f"status: paid -> {long}\\x1b[31m")
    assert len(lines) == 4


def test_every_format(busy_shop: Shop) -> None:
    debezium = busy_shop.ok("events", "--format", "debezium", "--since", "7").lines
    assert [event["op"] for event in debezium] == ["u", "u"]
    cloud = busy_shop.ok("events", "--format", "cloudevents", "--since", "7").lines
    assert {event["specversion"] for event in cloud} == {"1.0"}
    for form in ("avro", "arrow"):
        done = subprocess.run(
            (*COMMAND, "events", "--source", "orders", "--format", form),
            cwd=busy_shop.folder, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        if form == "avro":
            rows = list(fastavro.reader(io.BytesIO(done.stdout)))
        else:
            rows = pa.ipc.open_stream(done.stdout).read_all().to_pylist()
        assert [row["scn"] for row in rows] == [1, 2, 3, 4, 5, 8]


def test_binary_formats_need_one_source_and_one_schema(busy_shop: Shop) -> None:
    done = busy_shop.run("events", "--format", "avro")
    assert (done.code, done.out) == (2, "")
    assert "--source" in done.err
    busy_shop.sql("ALTER TABLE orders ADD COLUMN note TEXT", "UPDATE orders SET note = 'n' WHERE id = 1")
    busy_shop.ok("scan", "--source", "orders")
    changed = busy_shop.call("events", "--source", "orders", "--format", "arrow", PYTHONIOENCODING="latin-1")
    assert changed.code == 2
    assert "changes at SCN 10" in changed.err
    assert "--since 9" in changed.err
    busy_shop.ok("events", "--source", "orders", "--since", "10", "--format", "ndjson")


def test_json_and_other_formats_contradict(busy_shop: Shop) -> None:
    for form in ("table", "avro", "arrow"):
        done = busy_shop.run("events", "--json", "--format", form)
        assert done.code == 2
        assert done.document["error"]["exit_code"] == 2
    assert busy_shop.run("events", "--format", "xml").code == 2


def test_wrong_ranges_and_keys(busy_shop: Shop) -> None:
    for arguments in (
        ["--since", "99"],
        ["--since", "5", "--until", "4"],
        ["--since", "-1"],
        ["--since", "x"],
        ["--key", "7"],
        ["--source", "orders", "--key", "seven"],
        ["--source", "items", "--key", "7"],
        ["--source", "ordes"],
    ):
        done = busy_shop.run("events", "--json", *arguments)
        assert done.code == 2, arguments
        assert done.document["error"]["message"]
        assert done.err.startswith("error: ")


def test_nothing_to_show(busy_shop: Shop) -> None:
    done = busy_shop.ok("events", "--since", "9")
    assert (done.out, done.err) == ("", "no events\n")
    assert busy_shop.ok("events", "--since", "9", "--json").out == ""


def test_a_floor_is_not_crossed_silently(busy_shop: Shop) -> None:
    busy_shop.ok("rebaseline", "--source", "items")
    busy_shop.sql("UPDATE items SET qty = 10 WHERE region = 'us'")
    busy_shop.ok("scan", "--source", "items")
    below = busy_shop.run("events", "--since", "8", "--source", "items")
    assert below.code == 2
    assert "items" in below.err
    assert "SCN 9" in below.err
    assert "differ export --source items" in below.err
    assert busy_shop.run("events", "--since", "8").code == 2
    assert scns(busy_shop, "--since", "8", "--source", "orders") == []
    assert scns(busy_shop, "--since", "9") == [10]
    told = busy_shop.ok("events", "--json")
    assert "items: its events begin after SCN 9" in told.err
    assert [event["scn"] for event in told.lines] == [1, 2, 3, 4, 5, 8, 10]
    assert scns(busy_shop, "--source", "items") == [10]
    assert busy_shop.run("events", "--source", "items", "--until", "4").code == 2


def test_a_reader_that_goes_is_no_error(busy_shop: Shop) -> None:
    busy_shop.sql(
        "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "INSERT INTO orders SELECT i, 'a rather long status' FROM n"
    )
    busy_shop.ok("scan", "--source", "orders")
    for arguments in (
        ["events"],
        ["events", "--json"],
        ["export", "--source", "orders", "--format", "csv"],
        ["status"],
    ):
        process = busy_shop.start(*arguments)
        assert process.stdout is not None
        assert process.stderr is not None
        if arguments != ["status"]:
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def follow(shop: Shop, *arguments: str) -> "subprocess.Popen[str]":
    return shop.start("events", "--follow", "--json", *arguments)


def read_scn(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    return int(line.partition('"scn":')[2].partition(",")[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow_gives_what_is_committed_later(busy_shop: Shop, number: signal.Signals) -> None:
    process = follow(busy_shop, "--since", "8")
    assert read_scn(process) == 9
    busy_shop.sql("DELETE FROM orders WHERE id = 4")
    busy_shop.ok("scan", "--source", "orders")
    assert read_scn(process) == 10
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("\n") == 1
    assert err.startswith("error: events: interrupted")


def test_follow_ends_at_until_and_at_limit(busy_shop: Shop) -> None:
    ending = [follow(busy_shop, "--since", "9", "--until", "10"), follow(busy_shop, "--since", "9", "--limit", "1")]
    busy_shop.sql("UPDATE orders SET status = 'gone' WHERE id IN (3, 4)")
    busy_shop.ok("scan", "--source", "orders")
    for process in ending:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err, out.count("\n")) == (0, "", 1)


def test_follow_ends_where_a_new_base_begins(busy_shop: Shop) -> None:
    process = follow(busy_shop, "--source", "orders", "--since", "7")
    assert read_scn(process) == 8
    busy_shop.ok("rebaseline", "--source", "orders")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "new base" in err


def test_follow_flushes_arrow_streams(busy_shop: Shop, tmp_path: Path) -> None:
    process = subprocess.Popen(
        (*COMMAND, "events", "--follow", "--source", "orders", "--format", "arrow", "--until", "10"),
        cwd=busy_shop.folder, stdout=subprocess.PIPE,
    )  # fmt: skip
    found: list[int] = []
    several = threading.Event()

    def read() -> None:
        with pa.ipc.open_stream(process.stdout) as reader:
            for batch in reader:
                found.extend(batch.column("scn").to_pylist())
                several.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert several.wait(60)
    busy_shop.sql("DELETE FROM orders WHERE id = 1")
    busy_shop.ok("scan", "--source", "orders")
    assert process.wait(60) == 0
    reader.join(60)
    assert found == [1, 2, 3, 4, 5, 8, 10]


def test_a_snapshot_only_source_has_no_baseline_events(shop: Shop) -> None:
    shop.configure({"orders": table("orders", baseline="snapshot-only")})
    shop.ok("scan", "--all")
    assert shop.ok("events", "--json").out == ""
    shop.sql("DELETE FROM orders WHERE id = 1")
    shop.ok("scan", "--all")
    assert scns(shop) == [1]
