"""A MongoDB-protocol collection: differ's second cycle beside a bare cursor that does nothing but decode.

    python benchmarks/mongodb_scan.py [--documents 200000] [--rounds 5]

The server is the one of the tests (SecantusDB, in a process of its own). The bar: at least 0.9 x the rate of
`for document in collection.find()`, both from the start of the process to its end. differ reads in a transaction, makes
the canonical text of each document, fingerprints it and compares it with the state; the cursor forgets each document.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
from pymongo import MongoClient
from rounds import Bar, Side, in_turns, median, report

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers import MongoDB

SCHEDULER = """\
version: 1
sources:
  orders:
    iterator: mongodb
    options: {url: "env:BENCHMARK_URL", collection: orders}
"""
BARE = """
import json, os
from pymongo import MongoClient
client = MongoClient(os.environ["BENCHMARK_URL"])
rows = 0
for document in client.get_default_database()["orders"].find():
    rows += 1
print(json.dumps({"rows": rows}))
"""
CURSOR, DIFFER = "a bare cursor that decodes", "differ scan, second cycle"
INSERTED_AT_ONCE = 5000


def main() -> None:
    """Fill a collection, scan it once, run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    command = str(Path(sys.executable).with_name("differ"))
    with MongoDB() as server, tempfile.TemporaryDirectory(prefix="differ-bench-") as name:
        url = server.url("bench")
        _fill(url, arguments.documents)
        (Path(name) / "scheduler.yaml").write_text(SCHEDULER)
        env = {"BENCHMARK_URL": url}
        scan = [command, "scan", "--source", "orders", "--json", "--project", name]
        first = subprocess.run(scan, check=True, capture_output=True, text=True, env={**os.environ, **env})
        assert json.loads(first.stdout)["rows"] == arguments.documents, first.stdout
        runs = in_turns(
            [
                Side(name=CURSOR, command=[sys.executable, "-c", BARE], env=env),
                Side(name=DIFFER, command=scan, env=env),
            ],
            arguments.rounds,
        )
    for run in (*runs[CURSOR], *runs[DIFFER]):
        assert run.output["rows"] == arguments.documents, run
    rates = {side: round(arguments.documents / median(found, "wall")) for side, found in runs.items()}
    print(", ".join(f"{side}: {rate:,} documents/s" for side, rate in rates.items()))
    good = report(
        f"mongodb scan, {arguments.documents} documents",
        runs,
        [Bar(ours=DIFFER, peer=CURSOR, limit=1 / 0.9)],
        packages=("pymongo", "secantusdb"),
        notes={"documents_per_second": rates},
    )
    sys.exit(0 if good else 1)


def _fill(url: str, documents: int) -> None:
    """Orders with a customer inside, one to three lines, and all the common types. Equal for equal numbers."""
    draw = random.Random(1)
    client: MongoClient[dict[str, Any]] = MongoClient(url)
    collection = client.get_default_database()["orders"]
    for start in range(0, documents, INSERTED_AT_ONCE):
        numbers = range(start, min(start + INSERTED_AT_ONCE, documents))
        collection.insert_many([_order(number, draw) for number in numbers])
    client.close()


def _order(number: int, draw: random.Random) -> dict[str, Any]:
    lines = [
        {"sku": f"sku-{draw.randrange(5000)}", "quantity": draw.randrange(1, 9), "price": round(draw.random() * 90, 2)}
        for _ in range(draw.randrange(1, 4))
    ]
    return {
        "_id": bson.ObjectId(f"{number:024x}"),
        "number": number,
        "customer": {"name": f"Customer {number % 9973}", "city": draw.choice(["Bangalore", "Delhi", "Pune"])},
        "status": draw.choice(["paid", "shipped", "returned"]),
        "total": round(draw.random() * 1000, 2),
        "placed": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        "lines": lines,
        "note": None if number % 3 else "leave at the door",
        "gift": number % 7 == 0,
    }


if __name__ == "__main__":
    main()
