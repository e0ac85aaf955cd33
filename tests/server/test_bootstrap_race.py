"""Pinning, reading and letting go while other processes commit and retention keeps nothing else."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cycle.world import World
from tests.server.relay import Relay

ROUNDS = 10
"""Bootstraps that must come out whole while the committing process runs."""

COMMITTING = """
import sqlite3, sys
import differ

shop = sqlite3.connect(sys.argv[2], isolation_level=None)
with differ.open(sys.argv[1]) as project:
    print("ready", flush=True)
    for number in range(1, 100_000):
        shop.execute("BEGIN")
        for table in ("a", "b"):
            shop.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (number % 50, number))
            shop.execute(f"DELETE FROM {table} WHERE id = ?", ((number * 7) % 50,))
        shop.execute("COMMIT")
        results = project.scan_group("pair")
        assert {result.status for result in results} <= {"committed", "unchanged"}, results
"""


def test_a_bootstrap_is_one_moment_of_all_sources(tmp_path: Path) -> None:
    """Another process commits both tables of a group, always alike, and lets go of all but the newest snapshot."""
    world = World(tmp_path, relay={"retention": {"age": "0s", "size": 0, "hold_for_consumers": 0}})
    world.sql("".join(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, v INTEGER);" for name in ("a", "b")))
    for name in ("a", "b"):
        world.table(name, snapshots={"keep": 1, "small_base": 0, "delta_share": "100%"})
    world.settings["consistency_groups"] = {"pair": {"sources": ["a", "b"]}}
    world.project.scan_group("pair")
    relay = Relay(world.project).start()
    command = [sys.executable, "-c", COMMITTING, str(tmp_path), str(world.shop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        scns = set()
        for _ in range(ROUNDS):
            pin = relay.call("POST", "/v1/bootstrap", {"consumer": "race"}).json
            cursor = pin["cursor"]
            for _ in range(2):  # Once the second commit is seen, the first has let go of what it could.
                following = relay.stream(cursor=cursor, wait=30)
                assert following.status == 200, following.body
                assert following.scns
                cursor = following.cursor
            a, b = (rows(relay, pin, name) for name in ("a", "b"))
            assert a == b, pin
            assert relay.call("DELETE", f"/v1/bootstrap/{pin['id']}").json == {"removed": True}
            scns.add(pin["scn"])
            assert process.poll() is None
        assert len(scns) == ROUNDS
    finally:
        process.kill()
        process.wait()
        relay.stop(grace_seconds=1)
        world.close()


def rows(relay: Relay, pin: dict[str, Any], source: str) -> list[tuple[int, int]]:
    """(id, v) of all rows, asked for page by page."""
    found: list[tuple[int, int]] = []
    cursor = None
    while True:
        answer = relay.get(f"/v1/bootstrap/{pin['id']}/{source}", limit=15, cursor=cursor)
        found += [(line["after"]["id"], line["after"]["v"]) for line in answer.lines]
        if not answer.has_more:
            return sorted(found)
        cursor = answer.cursor
