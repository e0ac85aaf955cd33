"""A consumer that keeps a copy in SQLite, as a process: `python -m tests.road.follower URL NAME COPY LOG [group]`.

LOG: a JSON line for each callback that matters, before anything is done: what, and the SCN that it speaks of.
"""

import json
import os
import signal
import sqlite3
import sys
import threading
from typing import Any

from differ.client import Checkpoint, Client, Consumer, Events, Next, Pace, Retries
from differ.client.bootstrapping import Bootstrap
from differ.formats.partitions import VIRTUAL
from tests.client.mirror import is_in

TABLE = "CREATE TABLE IF NOT EXISTS copy (source, key, row, scn, generation, part, PRIMARY KEY (source, key))"


class Copy(Consumer):
    """Rows by key with the SCN they are of. A deleted row stays as a tombstone until the next bootstrap, so that a
    member of a group that wakes up late changes nothing any more: what is older than what is there is left out."""

    def __init__(self, path: str, log: str) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(TABLE)
        self._generation = ""

    def say(self, what: str, scn: int, key: str = "") -> None:
        os.write(self._log, json.dumps([what, scn, key]).encode() + b"\n")

    def on_start(self) -> None:
        self.say("start", 0)

    def on_events(self, events: Events) -> Next | None:
        for event in events:
            self.say("event", event.scn, f"{event.source} {event.key}")
        self._write(events, "WHERE excluded.scn >= copy.scn")
        return None

    def on_bootstrap_start(self, bootstrap: Bootstrap) -> Next | None:
        self.say("bootstrap", bootstrap.scn)
        self._generation = bootstrap.generation
        return None

    def on_bootstrap_events(self, events: Events) -> Next | None:
        self._write(events, "")
        return None

    def on_bootstrap_end(self, bootstrap: Bootstrap) -> Next | None:
        query = "SELECT source, key, part FROM copy WHERE generation != ?"
        for source, key, part in self._database.execute(query, (bootstrap.generation,)).fetchall():
            if is_in(bootstrap.partitions, part):
                self._database.execute("DELETE FROM copy WHERE source = ? AND key = ?", (source, key))
        self.say("bootstrapped", bootstrap.scn)
        return None

    def on_checkpoint(self, checkpoint: Checkpoint) -> Next | None:
        self.say("checkpoint", checkpoint.cursor.scn)
        return None

    def on_rollback(self, checkpoint: Checkpoint) -> Next | None:
        self.say("rollback", checkpoint.cursor.scn)
        return None

    def _write(self, events: Events, where: str) -> None:
        parts = events.batch.events.column("partition").to_pylist()
        rows: list[tuple[Any, ...]] = []
        for event, part in zip(events, parts, strict=True):
            row = event.after and json.dumps(dict(event.after))
            key = next(iter(event.key.values()))
            rows.append((event.source, key, row, event.scn, self._generation, part % VIRTUAL))
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany(
            "INSERT INTO copy VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
            f"SET row = excluded.row, scn = excluded.scn, generation = excluded.generation {where}",
            rows,
        )
        self._database.execute("COMMIT")


def main(url: str, name: str, path: str, log: str, group: str = "") -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    more: dict[str, Any] = {"group": True, "lease_seconds": 2} if group else {}
    pace = Pace(checkpoint_seconds=0.1, idle_seconds=0.2, checkpoint_events=40, batch_events=20)
    retries = Retries(first_seconds=0.05, most_seconds=0.5)
    Client(url).run(Copy(path, log), name=name, stop=stop, pace=pace, retries=retries, **more)


if __name__ == "__main__":
    main(*sys.argv[1:])
