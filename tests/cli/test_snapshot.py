"""`differ snapshot --sql`: DuckDB reads the current state by what is printed, whatever the names and paths."""

from pathlib import Path
from typing import Any

import duckdb
import pandas
import pytest

from tests.cli.shop import Shop, table

ODD = 'it\'s [a] "shop" * k=v'
DELTAS = {"small_base": "0B", "delta_share": "100%"}


def expected(shop: Shop, source: str) -> list[dict[str, Any]]:
    rows = shop.ok("export", "--source", source, "--format", "ndjson").lines
    return sorted(rows, key=lambda row: str(sorted(map(str, row.items()))))


def by_sql(shop: Shop, source: str) -> list[dict[str, Any]]:
    query = shop.ok("snapshot", "--source", source, "--sql").out
    found = duckdb.sql(query)
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    return sorted(rows, key=lambda row: str(sorted(map(str, row.items()))))


@pytest.fixture
def odd_shop(tmp_path: Path) -> Shop:
    """A shop in a folder with every sign that has a meaning somewhere, and a table with such names."""
    shop = Shop(tmp_path / ODD)
    shop.sql(
        'CREATE TABLE odd ("se\'lect" TEXT, "differ_cycle" INTEGER, "a ""b"".c" INTEGER, note TEXT, '
        'PRIMARY KEY ("se\'lect", "differ_cycle"))'
    )
    for number in range(1, 21):
        shop.sql(f"INSERT INTO odd VALUES ('k{number % 3}', {number}, {number}, NULL)")
    return shop


@pytest.mark.parametrize("snapshots", [{}, DELTAS], ids=["base", "deltas"])
def test_the_query_gives_the_state(odd_shop: Shop, snapshots: dict[str, str]) -> None:
    odd_shop.configure({"odd": table("odd", snapshots=snapshots, guards={"deletes": "100%"})})
    odd_shop.ok("scan", "--all")
    assert by_sql(odd_shop, "odd") == expected(odd_shop, "odd")
    for statement in (
        "UPDATE odd SET note = 'changed' WHERE differ_cycle < 5",
        "DELETE FROM odd WHERE differ_cycle IN (3, 17)",
        "INSERT INTO odd VALUES ('k0', 3, 33, 'again'), ('new', 99, 1, '')",
        "UPDATE odd SET note = 'twice' WHERE differ_cycle IN (3, 4)",
        "DELETE FROM odd WHERE differ_cycle > 0",
    ):
        odd_shop.sql(statement)
        assert odd_shop.run("scan", "--all", "--json").document["status"] in ("committed", "held")
        if odd_shop.ok("status", "--json").document["sources"][0]["held"]:
            odd_shop.ok("approve", "--source", "odd", "--yes")
        assert by_sql(odd_shop, "odd") == expected(odd_shop, "odd")
    body = odd_shop.ok("snapshot", "--source", "odd", "--json").document
    assert body["rows"] == 0
    if snapshots:
        assert body["removed"]


def test_names_that_differ_in_case_only(shop: Shop) -> None:
    shop.plugin(
        "cased",
        "import json, pathlib\n"
        "from differ.iterators import iterator\n"
        "@iterator(key=['a', 'A'], consistent=True)\n"
        "def cased(ctx):\n"
        "    yield json.loads((pathlib.Path(ctx.project) / 'rows.json').read_text())\n",
    )
    shop.configure({"cased": {"iterator": "cased", "snapshots": DELTAS}})
    for rows in ('[{"a":1,"A":2,"v":"x"},{"a":2,"A":1,"v":"y"}]', '[{"a":1,"A":2,"v":"z"},{"a":2,"A":1,"v":"y"}]'):
        (shop.folder / "rows.json").write_text(rows)
        shop.ok("scan", "--all")
        found = duckdb.sql(shop.ok("snapshot", "--source", "cased", "--sql").out).fetchall()
        assert sorted(found, key=str) == sorted(
            [tuple(row.values()) for row in shop.ok("export", "--source", "cased").lines], key=str
        )


def test_what_is_printed_for_people_works(shop: Shop) -> None:
    shop.ok("scan", "--all")
    text = shop.ok("snapshot", "--source", "orders").out
    assert "orders as of SCN 5: 5 rows, cycle 1" in text
    call = text.partition("pandas  pandas.")[2].partition("\n")[0]
    assert len(eval(f"pandas.{call}", {"pandas": pandas})) == 5
    line = text.partition("Python  differ.")[2].strip()
    import differ

    assert len(eval(f"differ.{line}", {"differ": differ})) == 5
    shop.configure({"orders": table("orders", snapshots=DELTAS)})
    shop.sql("UPDATE orders SET status = 'x' WHERE id = 1")
    shop.ok("scan", "--all")
    with_delta = shop.ok("snapshot", "--source", "orders").out
    assert "differ compact --source orders" in with_delta
    assert "pandas.read_parquet" not in with_delta
    assert shop.ok("compact", "--source", "orders").out.startswith("orders  cycle 3  committed  5 rows  +0 ~0 -0")
    assert "pandas.read_parquet" in shop.ok("snapshot", "--source", "orders").out


def test_before_the_first_cycle(shop: Shop) -> None:
    for command in ("snapshot", "compact", "export"):
        done = shop.run(command, "--source", "orders")
        assert done.code == 2
        assert "differ scan --source orders" in done.err
    assert shop.run("snapshot", "--source", "ordes").code == 2
