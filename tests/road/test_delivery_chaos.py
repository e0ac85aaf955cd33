"""From scan to destination, by processes that are killed and frozen, over schema changes, new bases, retention that
keeps next to nothing, and a store that is restored from a backup: in the end every destination equals the sources.

Run one again by its seed, which a failure shows: `DIFFER_CHAOS_SEED=7 pytest tests/road/test_delivery_chaos.py`.
"""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import differ
from tests.cli.shop import COMMAND
from tests.cycle.world import World

ROOT = Path(__file__).parents[2]
TABLES = ("a", "b", "c")
ACTING_SECONDS = 15.0
SETTLING_SECONDS = 90.0
STOP_SECONDS_MAX = 15.0
SINK = {"sources": [*TABLES], "lease": "1s", "batch": {"events": 40, "every": "100ms"},
        "retries": {"first": "20ms", "longest": "500ms", "yield": "3s"}}  # fmt: skip

Rows = dict[int, dict[str, Any]]


class Play:
    """The project, the shop that it watches, and the processes."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.chance, self.folder = chance, folder
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        retention = chance.choice([
            {"age": "0s", "size": 0, "hold_for_consumers": 0},
            {"age": "0s", "size": "4KiB", "hold_for_consumers": "20KiB"},
            {},
        ])  # fmt: skip
        sinks = {
            "copy": SINK | {"kind": "sql", "options": {"url": "sqlite:///copy.db", "table": "{source}"}},
            "files": SINK | {"kind": "files", "options": {"folder": "exports", "format": "ndjson"}},
        }
        self.world = World(
            folder / "project",
            sinks=sinks,
            relay={"listen": self.url.removeprefix("http://"), "retention": retention},
            bootstrap={"lease": chance.choice(["1s", "10m"])},
        )
        self.shop = sqlite3.connect(self.world.shop, isolation_level=None, timeout=60)
        self.shop.execute("PRAGMA journal_mode = WAL")
        for table in TABLES:
            more = {"baseline": "snapshot-only"} if table == "c" else {}
            self.world.table(table, snapshots={"keep": 1, "small_base": chance.choice([0, "64MiB"])}, **more)
            self.shop.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v INTEGER)")
            self.shop.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(number, number) for number in range(60)])
        self.world.project.scan_all()
        self.world.close()
        # Opened anew after a restore, but not by the world: it would write the file again that processes read.
        self.project = differ.open(self.world.folder)
        self.commands = {
            "relay": [*COMMAND, "run", "--only", "relay,bootstrap"],
            "sinks1": [*COMMAND, "run", "--only", "sinks"],
            "sinks2": [*COMMAND, "run", "--only", "sinks"],
            "single": self._follower("single"),
            "member1": self._follower("shared", "group"),
            "member2": self._follower("shared", "group"),
        }
        self.frozen: dict[str, threading.Timer] = {}
        self.logs: dict[str, BinaryIO] = {name: (folder / f"{name}.log").open("wb") for name in self.commands}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for name in self.commands:
            self.start(name)

    def _follower(self, name: str, *more: str) -> list[str]:
        paths = (str(self.folder / f"{name}.db"), str(self.folder / f"{name}.jsonl"))
        return [sys.executable, "-m", "tests.road.follower", self.url, name, *paths, *more]

    # -- processes ----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        command = [
            *self.commands[name],
            *(["--project", str(self.world.folder)] if "run" in self.commands[name] else []),
        ]
        self.running[name] = subprocess.Popen(command, stdout=self.logs[name], stderr=self.logs[name], cwd=ROOT)

    def kill(self, name: str) -> None:
        self.thaw(name)
        assert self.running[name].poll() is None, f"{name} ended by itself: {self.text(name)[-3000:]}"
        self.running[name].kill()
        self.running[name].wait()

    def freeze(self, name: str) -> None:
        """It may hold a lock, so it goes on by itself, whatever waits for it meanwhile."""
        self.thaw(name)
        self.running[name].send_signal(signal.SIGSTOP)
        seconds = self.chance.choice([0.3, 1.5, 3])
        self.frozen[name] = threading.Timer(seconds, self.running[name].send_signal, [signal.SIGCONT])
        self.frozen[name].start()

    def thaw(self, name: str) -> None:
        timer = self.frozen.pop(name, None)
        if timer is not None:
            timer.cancel()
            timer.join()
            self.running[name].send_signal(signal.SIGCONT)

    def end_all(self) -> None:
        """In good order and in time, just after they were frozen."""
        for name in reversed(self.commands):
            process = self.running[name]
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
            assert process.wait(STOP_SECONDS_MAX) == 0, f"{name}: {self.text(name)[-3000:]}"

    def text(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        for name, process in self.running.items():
            self.thaw(name)
            process.kill()
            process.wait()
        for log in self.logs.values():
            log.close()
        self.shop.close()
        self.project.close()

    # -- what happens -------------------------------------------------------------------------------------------------

    def columns(self, table: str) -> list[str]:
        return [row[1] for row in self.shop.execute(f"PRAGMA table_info({table})")]

    def change(self) -> None:
        table, pick = self.chance.choice(TABLES), self.chance
        names = self.columns(table)[1:]
        self.shop.execute("BEGIN")
        for _ in range(pick.randint(1, 25)):
            key = pick.randint(0, 120)
            statement = pick.choices(["REPLACE", "DELETE", "UPDATE"], [3, 2, 6])[0]
            if statement == "REPLACE":
                self.shop.execute(f"REPLACE INTO {table} (id, v) VALUES (?, ?)", (key, pick.randint(0, 9)))
            elif statement == "DELETE":
                self.shop.execute(f"DELETE FROM {table} WHERE id = ?", (key,))
            else:
                value = pick.choice([None, pick.randint(0, 9)])
                self.shop.execute(f"UPDATE {table} SET {pick.choice(names)} = ? WHERE id = ?", (value, key))
        self.shop.execute("COMMIT")
        self.scan()

    def alter(self) -> None:
        table, name = self.chance.choice(TABLES), self.chance.choice("xy")
        if name in self.columns(table):
            self.shop.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
        else:
            self.shop.execute(f"ALTER TABLE {table} ADD COLUMN {name} INTEGER {self.chance.choice(['', 'DEFAULT 7'])}")
        self.scan()

    def scan(self) -> None:
        for result in self.project.scan_all():
            assert result.status in ("committed", "unchanged"), result

    def rebase(self) -> None:
        self.change()
        self.project.rebaseline(self.chance.choice(TABLES))

    def back_up(self) -> None:
        self.project.close()
        for part in ("snapshots", ".differ"):
            shutil.rmtree(self.folder / "backup" / part, ignore_errors=True)
            shutil.copytree(self.world.folder / part, self.folder / "backup" / part, ignore=_without_consumers)
        self.project = differ.open(self.world.folder)

    def restore(self) -> None:
        """The store alone: destinations and processes have lived on. The consumers' database is kept, or is lost."""
        if not (self.folder / "backup").exists():
            self.back_up()
            return
        self.kill("relay")
        self.project.close()
        consumers = [*(self.world.folder / ".differ").glob("consumers.db*")] if self.chance.random() < 0.5 else []
        shutil.rmtree(self.world.folder / "snapshots")
        for path in [*consumers, *(self.world.folder / ".differ").glob("catalog.db*")]:
            path.unlink()
        for part in ("snapshots", ".differ"):
            shutil.copytree(self.folder / "backup" / part, self.world.folder / part, dirs_exist_ok=True)
        self.project = differ.open(self.world.folder)
        self.change()
        self.start("relay")

    def act(self) -> None:
        acts: dict[Callable[[], None], int] = {
            self.change: 30, self.alter: 6, self.kill_any: 10, self.freeze_any: 6, self.rebase: 3, self.back_up: 2,
            self.restore: 3,
        }  # fmt: skip
        (act,) = self.chance.choices(list(acts), list(acts.values()))
        print(f"{time.monotonic():.2f} {act.__name__}")  # noqa: T201
        act()

    def kill_any(self) -> None:
        name = self.chance.choice([*self.commands])
        self.kill(name)
        self.start(name)

    def freeze_any(self) -> None:
        self.freeze(self.chance.choice([*self.commands]))

    # -- what is there ------------------------------------------------------------------------------------------------

    def wanted(self, table: str) -> Rows:
        names = self.columns(table)
        return {row[0]: dict(zip(names, row, strict=True)) for row in self.shop.execute(f"SELECT * FROM {table}")}

    def wrong(self) -> dict[str, Any]:
        """What differs, by destination and table: the rows that are there, and those that should be."""
        readers = {"copy": self.copied, "files": self.exported, "single": self.followed, "shared": self.followed}
        found = {}
        for table in TABLES:
            names, wanted = self.columns(table), self.wanted(table)
            for name, read in readers.items():
                have = {key: {n: row.get(n) for n in names} for key, row in read(name, table).items()}
                if have != wanted:
                    keys = [key for key in have | wanted if have.get(key) != wanted.get(key)][:5]
                    found[f"{name} {table}"] = [(key, have.get(key), wanted.get(key)) for key in keys]
        return found

    def copied(self, _: str, table: str) -> Rows:
        return {row["id"]: row for row in _rows(self.world.folder / "copy.db", f"SELECT * FROM {table}")}

    def followed(self, name: str, table: str) -> Rows:
        query = f"SELECT row FROM copy WHERE source = '{table}' AND row IS NOT NULL"
        rows = [json.loads(row["row"]) for row in _rows(self.folder / f"{name}.db", query)]
        return {row["id"]: row for row in rows}

    def exported(self, _: str, table: str) -> Rows:
        """The newest bootstrap and the events after it, each of which must be there once."""
        whole = sorted(self.world.folder.glob("exports/*/bootstrap-*"), key=lambda path: path.stat().st_mtime_ns)
        since = int(whole[-1].name.split("-")[1]) if whole else 0
        files = [*sorted(whole[-1].glob(f"{table}/*"))] if whole else []
        state = {line["key"]["id"]: line["document"] for path in files for line in _lines(path)}
        events = [
            line for path in sorted(self.world.folder.glob(f"exports/*/events/{table}/*")) for line in _lines(path)
        ]
        later = [line for line in events if line["scn"] > since]
        scns = [line["scn"] for line in later]
        if scns != sorted(set(scns)):
            return {0: {"scns": scns}}
        for line in later:
            state[line["key"]["id"]] = line["document"]
        return {key: row for key, row in state.items() if row is not None}


def _without_consumers(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("consumers.db") or name == "run"]


def _rows(path: Path, query: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        with suppress(sqlite3.OperationalError):  # No such table or column yet.
            return [dict(row) for row in connection.execute(query)]
    return []


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_log(text: str) -> None:
    """Nothing was passed without being told: up to each checkpoint, all SCNs since the bootstrap or checkpoint before
    it came. For each key they came in order, but for replays."""
    base: int | None = None
    told: set[int] = set()
    last: dict[str, int] = {}
    booting = False
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        what, scn, key = json.loads(line)
        if what in ("start", "rollback", "bootstrapped"):
            last = {}
        if what == "bootstrap":
            booting = True
        elif what == "bootstrapped":
            base, told, booting = scn, set(), False
        elif what == "start":
            booting = False
        elif what == "event":
            told.add(scn)
            assert scn >= last.get(key, 0), f"{key}: {scn} after {last[key]}"
            last[key] = scn
        elif what == "checkpoint" and base is not None and not booting:
            missing = sorted(set(range(base + 1, scn + 1)) - told)
            assert not missing, f"checkpoint {scn} without {missing[:9]}, after {base}"
            base = max(base, scn)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    seed = int(os.environ.get("DIFFER_CHAOS_SEED") or random.randrange(2**32))
    print(f"DIFFER_CHAOS_SEED={seed}")  # noqa: T201
    made = Play(tmp_path, random.Random(seed))
    yield made
    made.close()


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_destination_equals_the_sources_in_the_end(play: Play) -> None:
    end = time.monotonic() + ACTING_SECONDS
    while time.monotonic() < end:
        play.act()
    for name in play.commands:
        play.thaw(name)
    play.scan()
    deadline = time.monotonic() + SETTLING_SECONDS
    while wrong := play.wrong():
        assert time.monotonic() < deadline, wrong
    play.end_all()
    for name in play.commands:
        assert "Traceback" not in play.text(name), name
    check_log((play.folder / "single.jsonl").read_text())
