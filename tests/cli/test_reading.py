"""history, diff, export, schemas, status, sources: what was committed, read back."""

import csv
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cli.shop import Shop, table


@pytest.fixture
def moved(shop: Shop) -> Shop:
    """Five orders (SCN 1..5), then 2 shipped and 5 deleted (6..7), then 5 again and 2 paid again (8..9)."""
    shop.ok("scan", "--all")
    shop.sql("UPDATE orders SET status = 'shipped' WHERE id = 2", "DELETE FROM orders WHERE id = 5")
    shop.ok("scan", "--all")
    shop.sql("UPDATE orders SET status = 'paid' WHERE id = 2", "INSERT INTO orders VALUES (5, 'new')")
    shop.ok("scan", "--all")
    return shop


def test_history(moved: Shop) -> None:
    done = moved.ok("history", "--source", "orders", "--key", "5", "--json").document
    assert [event["op"] for event in done["events"]] == ["insert", "delete", "insert"]
    assert (done["exists"], done["rows"]) == (True, [{"id": 5, "status": "new"}])
    text = moved.ok("history", "--source", "orders", "--key", "2").out
    assert "status: paid -> shipped" in text
    assert "exists now: id=2, status=paid" in text
    moved.sql("DELETE FROM orders WHERE id = 2")
    moved.ok("scan", "--all")
    assert moved.ok("history", "--source", "orders", "--key", "2").out.endswith("does not exist now\n")
    never = moved.ok("history", "--source", "orders", "--key", "77").out
    assert never == "no events of key 77\ndoes not exist now\n"
    assert moved.run("history", "--source", "orders", "--key", "x").code == 2
    assert moved.run("history", "--source", "orders").code == 2


def test_diff_is_net(moved: Shop) -> None:
    changes = moved.ok("diff", "--source", "orders", "--from", "5", "--json").lines
    assert [(change["op"], change["key"]["id"], change["events"]) for change in changes] == [("update", 5, 2)]
    middle = moved.ok("diff", "--source", "orders", "--from", "5", "--to", "7").out
    assert "shipped" in middle
    assert "delete" in middle
    same = moved.ok("diff", "--source", "orders", "--from", "9")
    assert (same.out, same.err) == ("", "no difference between SCN 9 and SCN 9\n")
    for arguments in (["--from", "7", "--to", "5"], ["--from", "5", "--to", "99"], ["--to", "5"]):
        assert moved.run("diff", "--source", "orders", *arguments).code == 2
    moved.ok("rebaseline", "--source", "orders")
    assert "floor" in moved.run("diff", "--source", "orders", "--from", "5").err


def test_export_as_of(moved: Shop, tmp_path: Path) -> None:
    def state(*arguments: str) -> dict[int, str]:
        lines = moved.ok("export", "--source", "orders", *arguments).lines
        return {line["id"]: line["status"] for line in lines}

    assert state("--as-of", "5")[2] == "paid"
    assert state("--as-of", "7") == {1: "paid", 2: "shipped", 3: "paid", 4: "paid"}
    assert state()[5] == "new"
    inside = moved.ok("export", "--source", "orders", "--as-of", "6")
    assert len(inside.lines) == 5
    assert "SCN 6 lies inside the window 6..7" in inside.err
    out = tmp_path / "orders.parquet"
    told = moved.ok("export", "--source", "orders", "--as-of", "7", "--out", str(out), "--json").document
    assert told == {"source": "orders", "scn": 7, "rows": 4, "format": "parquet", "out": str(out)}
    assert pq.read_table(out).num_rows == 4
    for arguments in (["--as-of", "99"], ["--json"], ["--format", "xml"], ["--out", str(tmp_path)]):
        assert moved.run("export", "--source", "orders", *arguments).code == 2


def test_export_is_whole_or_not_at_all(moved: Shop, tmp_path: Path) -> None:
    out = tmp_path / "orders.csv"
    out.write_text("before")
    folder = os.open(tmp_path, os.O_RDONLY)
    (part,) = moved.folder.glob("snapshots/orders/cycle-00000003-*/part-00000.parquet")
    body = bytearray(part.read_bytes())
    body[len(body) // 2] ^= 1
    part.write_bytes(body)
    done = moved.run("export", "--source", "orders", "--out", str(out))
    os.close(folder)
    assert done.code == 5
    assert "differ check" in done.err
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"orders.csv", "shop"}
    assert moved.run("export", "--source", "orders", "--as-of", "5", "--out", str(tmp_path / "no" / "f")).code == 2


def test_retention_is_told(shop: Shop) -> None:
    shop.configure({"orders": table("orders", snapshots={"keep": 1})})
    shop.ok("scan", "--all")
    shop.sql("DELETE FROM orders WHERE id = 5")
    shop.ok("scan", "--all")
    done = shop.run("export", "--source", "orders", "--as-of", "5")
    assert done.code == 3
    assert "no longer kept" in done.err


def test_csv_tells_null_from_empty(shop: Shop, tmp_path: Path) -> None:
    with sqlite3.connect(shop.folder / "shop.db") as connection:
        connection.execute('CREATE TABLE odd (id INTEGER PRIMARY KEY, "a,b" TEXT, f REAL, data BLOB)')
        rows: list[tuple[Any, ...]] = [
            (1, None, None, None),
            (2, "", 1.5, b""),
            (3, 'quote " and\nline', float("inf"), b"\x00\xff"),
        ]
        connection.executemany("INSERT INTO odd VALUES (?, ?, ?, ?)", rows)
    shop.configure({"odd": table("odd")})
    shop.ok("scan", "--all")
    out = tmp_path / "odd.csv"
    shop.ok("export", "--source", "odd", "--out", str(out))
    text = out.read_text()
    assert text.startswith('"id","a,b","f","data"\n1,,,\n2,"",1.5,""\n')
    with out.open(newline="") as file:
        assert list(csv.reader(file))[3] == ["3", 'quote " and\nline', "Infinity", "AP8="]
    lines = shop.ok("export", "--source", "odd", "--format", "ndjson").lines
    assert lines[0] == {"id": 1, "a,b": None, "f": None, "data": None}
    assert lines[2]["data"] == "AP8="


def test_schemas(shop: Shop) -> None:
    assert shop.ok("schemas").err.startswith("no schemas yet")
    shop.ok("scan", "--all")
    shop.sql("ALTER TABLE orders ADD COLUMN note TEXT")
    shop.ok("scan", "--all")
    text = shop.ok("schemas", "--source", "orders").out
    assert "orders version 1" in text
    assert "orders version 2" in text
    assert "note" in text
    plain = shop.ok("schemas", "--json").lines
    assert [entry["version"] for entry in plain] == [1, 2]
    assert plain[1]["changes"]
    (_, avro) = shop.ok("schemas", "--format", "avro").lines
    assert avro["avro"]["name"] == "ChangeEvent"
    assert {f["name"] for f in shop.ok("schemas", "--format", "arrow").lines[1]["arrow"]["fields"]} == {
        "id", "status", "note",
    }  # fmt: skip
    assert shop.ok("schemas", "--format", "json").lines[0]["json"]["required"] == ["id", "status"]
    assert shop.run("schemas", "--source", "nowhere").code == 2


def test_status_of_every_kind_of_source(shop: Shop) -> None:
    settings = {
        "orders": table("orders", guards={"rows": {"min": 3}}),
        "broken": table("nowhere"),
        "never": table("orders", schedule={"every": "5m", "jitter": "10s"}),
        "gone": table("orders"),
    }
    shop.configure(settings)
    shop.run("scan", "--source", "orders", "--source", "broken", "--source", "gone")
    shop.sql("DELETE FROM orders WHERE id > 2")
    assert shop.run("scan", "--source", "orders").code == 4
    del settings["gone"]
    shop.configure(settings)
    text = shop.ok("status").out
    body = {source["source"]: source for source in shop.ok("status", "--json").document["sources"]}
    held = body["orders"]["held"]
    assert f"differ approve --source orders --cycle 2 --hash {held['hash']}" in text
    assert f"differ reject --source orders --cycle 2 --hash {held['hash']}" in text
    assert "broken failed: scan broken" in text
    assert "not in scheduler.yaml" in text
    assert body["never"]["status"] == "never"
    assert body["orders"]["rows"] == 5
    assert all(len(line.split("\n")) == 1 for line in text.splitlines())


def test_sources_reads_the_configuration(shop: Shop) -> None:
    shop.configure(
        {
            "orders": table("orders", key="id", schedule={"cron": "*/5 * * * *", "timezone": "Europe/Berlin"}),
            "items": table("items", key=["a", "b"], columns={"ignore": ["x"], "mask": {"y": "null"}}),
        }
    )
    text = shop.ok("sources").out
    assert "*/5 * * * * Europe/Berlin" in text
    assert "a, b" in text
    assert "ignore x; mask y" in text
    assert not (shop.folder / ".differ").exists()
    (orders, _) = shop.ok("sources", "--json").document["sources"]
    assert orders["guards"]["deletes"] == "20%"
    assert "shop.db" not in json.dumps(orders)
