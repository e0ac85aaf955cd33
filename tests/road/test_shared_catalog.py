"""Processes that scan different stores at once into one catalog on PostgreSQL: one stream without gaps."""

import itertools
import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from pymongo import MongoClient

from tests.cycle.world import World
from tests.iterators.sql.scanning import run

ROUNDS = 4
ROWS = 25
SCANNER = textwrap.dedent(
    """
    import json, sys
    import differ
    from tests.road.test_shared_catalog import ROUNDS, change

    source, url, project = sys.argv[1:]
    results = []
    with differ.open(project) as opened:
        sys.stdin.readline()  # both begin at once
        for number in range(ROUNDS):
            change(source, url, number)
            results.append(opened.scan(source).to_json())
            results.append(opened.scan(source).to_json())
    print(json.dumps(results))
    """
)


def change(source: str, url: str, number: int) -> None:
    """Make one update and one insert, and a delete of what was inserted before, in the source's own store."""
    if source == "documents":
        with MongoClient[dict[str, Any]](url, retryWrites=False) as client:
            things = client.get_default_database()["things"]
            things.update_one({"_id": 1}, {"$set": {"v": 1000 + number}})
            things.insert_one({"_id": 100 + number})
            things.delete_one({"_id": 99 + number})
    else:
        run(
            url,
            f"UPDATE things SET v = {1000 + number} WHERE id = 1",
            f"INSERT INTO things VALUES ({100 + number}, 0)",
            f"DELETE FROM things WHERE id = {99 + number}",
        )


@pytest.mark.service
def test_two_processes_two_stores_one_stream(
    world: World, postgresql_url: str, mariadb_url: str, mongodb_url: str
) -> None:
    values = ", ".join(f"({number}, {number})" for number in range(ROWS))
    run(mariadb_url, "CREATE TABLE things (id INT PRIMARY KEY, v INT)", f"INSERT INTO things VALUES {values}")
    with MongoClient[dict[str, Any]](mongodb_url, retryWrites=False) as client:
        client.get_default_database()["things"].insert_many([{"_id": n, "v": n} for n in range(ROWS)])
    world.settings["storage"] = {"catalog": postgresql_url}
    world.source("rows", iterator="sql", options={"url": mariadb_url, "table": "things"})
    world.source("documents", iterator="mongodb", options={"url": mongodb_url, "collection": "things"})
    assert world.project.catalog.stream().head_scn == 0
    stores = {"rows": mariadb_url, "documents": mongodb_url}
    processes = {
        source: subprocess.Popen(
            [sys.executable, "-c", SCANNER, source, url, str(world.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for source, url in stores.items()
    }  # fmt: skip
    for process in processes.values():
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    expected = 0
    for source, process in processes.items():
        out, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        results = json.loads(out)
        assert [result["status"] for result in results] == ["committed", "unchanged"] * ROUNDS, results
        # The first scan finds everything at once; each later one an update, an insert and a delete.
        assert [result["inserts"] for result in results[::2]] == [ROWS + 1, *[1] * (ROUNDS - 1)]
        assert [result["updates"] for result in results[::2]] == [0, *[1] * (ROUNDS - 1)]
        assert [result["deletes"] for result in results[::2]] == [0, *[1] * (ROUNDS - 1)]
        for result in results[::2]:
            events = list(world.project.events(since=result["scn_first"] - 1, until=result["scn_last"]))
            assert {event.source for event in events} == {source}
            assert {(event.window.first, event.window.last) for event in events} == {
                (result["scn_first"], result["scn_last"])
            }
            assert len(events) == result["inserts"] + result["updates"] + result["deletes"]
            expected += len(events)
    assert world.project.catalog.stream().head_scn == expected
    windows = world.project.catalog.windows()
    assert windows[0].first == 1
    assert all(one.last + 1 == other.first for one, other in itertools.pairwise(windows))
    assert len(windows) == 2 * ROUNDS
    for source in stores:
        world.verify(source)
    assert world.project.check(read_data=True) == []
