"""The shop of the demo: what writes its two stores. differ only reads them.

    python shop.py create                              both stores as they are at the start
    python shop.py sql changes/shop.sql                run SQL statements on shop.db
    python shop.py documents changes/customers.jsonl   insert, update and delete customers

The tables are in SQLite. The customers are documents: in customers.jsonl, or, where the project was made with MONGO_URL
set, in a MongoDB collection; scheduler.yaml says which.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Document = dict[str, Any]


def create(folder: Path) -> str:
    """Make both stores anew from data/. Returns what was made, in words."""
    database = folder / "shop.db"
    database.unlink(missing_ok=True)
    run_sql(folder, folder / "data" / "shop.sql")
    lines = (folder / "data" / "customers.jsonl").read_text(encoding="utf-8").splitlines()
    if in_mongodb(folder):
        from bson.json_util import loads

        with collection(folder) as customers:
            customers.delete_many({})
            customers.insert_many([loads(line) for line in lines])
            where = f"collection {customers.full_name}"
    else:
        write_lines(folder / "customers.jsonl", lines)
        where = "customers.jsonl"
    with closing(sqlite3.connect(database)) as connection:
        (orders,) = connection.execute("SELECT count(*) FROM orders").fetchone()
    return f"{orders} orders with their items in shop.db, {len(lines)} customers in {where}"


def run_sql(folder: Path, script: Path) -> str:
    """Run the statements of a file on shop.db, in one transaction. Returns what was done, in words."""
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript(f"BEGIN;\n{script.read_text(encoding='utf-8')}\n;\nCOMMIT;")
        return f"{connection.total_changes} rows changed in shop.db"


def change_documents(folder: Path, script: Path) -> str:
    """Apply the changes of a file, one a line. Returns what was done, in words."""
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line.strip()]
    if in_mongodb(folder):
        from bson.json_util import loads

        with collection(folder) as customers:
            for line in lines:
                change_in_mongodb(customers, loads(line))
            return f"{len(lines)} documents changed in collection {customers.full_name}"
    path = folder / "customers.jsonl"
    documents = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        documents = changed(documents, json.loads(line))
    write_lines(path, (json.dumps(document, ensure_ascii=False) for document in documents))
    return f"{len(lines)} documents changed in customers.jsonl"


def changed(documents: list[Document], change: Document) -> list[Document]:
    """The documents after one change."""
    if "insert" in change:
        return [*documents, change["insert"]]
    if "delete" in change:
        return [document for document in documents if document["_id"] != change["delete"]]
    for document in documents:
        if document["_id"] == change["update"]:
            for path, value in change["set"].items():
                *parents, name = path.split(".")
                inner = document
                for parent in parents:
                    inner = inner.setdefault(parent, {})
                inner[name] = value
    return documents


def change_in_mongodb(customers: Any, change: Document) -> None:
    """The same change of a collection."""
    if "insert" in change:
        customers.insert_one(change["insert"])
    elif "delete" in change:
        customers.delete_one({"_id": change["delete"]})
    else:
        customers.update_one({"_id": change["update"]}, {"$set": change["set"]})


def in_mongodb(folder: Path) -> bool:
    """Whether the project reads its customers from MongoDB."""
    return "iterator: mongodb" in (folder / "scheduler.yaml").read_text(encoding="utf-8")


@contextmanager
def collection(folder: Path) -> Iterator[Any]:
    """The collection that scheduler.yaml names for the source `customers`."""
    from pymongo import MongoClient

    import differ

    with differ.open(folder) as project:
        options = project.settings.source("customers").options
    with MongoClient[Document](options["url"]) as client:
        named = options.get("database")
        database = client[named] if named else client.get_default_database()
        yield database[options["collection"]]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of lines so that whoever reads it sees all of the old one or all of the new one."""
    new = path.with_name(path.name + ".new")
    new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.replace(new, path)


def main(arguments: list[str]) -> int:
    """Run one of the commands above; what goes wrong is told in one line."""
    try:
        match arguments:
            case ["create"]:
                print(create(HERE))
            case ["sql", script]:
                print(run_sql(HERE, Path(script)))
            case ["documents", script]:
                print(change_documents(HERE, Path(script)))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Exception as error:
        print(f"shop: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
