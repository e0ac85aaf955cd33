"""What lies on disk is for its owner alone, and a small file cannot unpack into all of memory."""

import gzip
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from differ.client import Client, Consumer
from differ.client.retries import Retries
from differ.iterators.files.byte_lines import LINE_BYTES_MAX
from differ.sinks.runner import SinkRunner
from differ.storage.spill import Buckets
from tests.cycle.world import World
from tests.server.eventually import eventually
from tests.server.relay import Relay
from tests.sinks.rig import Rig


@pytest.fixture
def open_umask() -> Iterator[None]:
    """As bad as it can be."""
    before = os.umask(0)
    yield
    os.umask(before)


class Refusing(Consumer):
    """Fails at every event, so that each becomes a dead letter."""

    def on_event(self, event: Any) -> None:
        raise ValueError("no")


def test_files_are_0600_and_folders_0700(world: World, serve: Callable[..., Relay], open_umask: None) -> None:
    """A life that makes every kind of file: bases, deltas, segments, spills, locks, consumers, letters, sinks."""
    world.fed("orders", [{"id": n} for n in range(100)], snapshots={"small_base": 0, "delta_share": "100%"})
    world.commit("orders")
    world.commit("orders", [{"id": n} for n in range(1, 101)])
    rig = Rig(world, serve)
    state, output = world.folder / ".differ", world.folder / "out"
    clients = state / "clients"
    Client(rig.url).run(
        Refusing(), name="index", sources=["orders"], until_head=True, start="oldest", retries=Retries(attempts=1),
        checkpoints=clients / "checkpoint.json", dead_letters=clients / "dead.jsonl",
    )  # fmt: skip
    assert (clients / "dead.jsonl").stat().st_size
    runner: SinkRunner = rig.start(rig.sink("files", kind="files", options={"folder": "out", "format": "parquet"}))
    eventually(lambda: any(output.rglob("*.parquet")))
    runner.stop()
    spill = Buckets(state, "spill", pa.schema({"id": pa.int64()}))
    spill.write(0, pa.record_batch({"id": [1]}))
    spill.close()
    world.close()
    found = [path for top in (state, output, world.folder / "snapshots") for path in (top, *top.rglob("*"))]
    wrong = {
        path.relative_to(world.folder).as_posix(): oct(path.stat().st_mode)
        for path in found
        if stat.S_IMODE(path.stat().st_mode) != (0o700 if path.is_dir() else 0o600)
    }
    assert wrong == {}
    kinds = {path.suffix for path in found if path.is_file()}
    assert {".parquet", ".json", ".db", ".arrows"} <= kinds, kinds


SCAN = """
import json, resource, sys
import differ
with differ.open(sys.argv[1]) as project:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = project.scan("bomb")
    print(json.dumps([result.error, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10]))
"""


@pytest.mark.parametrize("name", ["bomb.jsonl.gz", "bomb.csv.gz", "documents.jsonl.gz"])
def test_a_small_file_that_unpacks_into_an_endless_line(world: World, name: str) -> None:
    path = world.folder / name
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"id": "' if "jsonl" in name else b"id,a\n1,")
        for _ in range(192):
            file.write(b"a" * (1 << 20))
    assert path.stat().st_size < 4 << 20
    options = {"path": name, "document": True} if name.startswith("documents") else {"path": name}
    world.source("bomb", iterator="files", key="_id" if "document" in options else "id", options=options)
    assert world.project.settings
    done = subprocess.run(
        [sys.executable, "-c", SCAN, str(world.folder)], capture_output=True, text=True, timeout=100, check=True
    )
    error, grown_bytes = json.loads(done.stdout)
    assert "longer than" in error
    assert name in error
    assert grown_bytes < 5 * LINE_BYTES_MAX


def test_the_limit_leaves_room_for_large_values(world: World) -> None:
    text = "ä" * (8 << 20)
    (world.folder / "large.jsonl").write_text(json.dumps({"id": 1, "text": text}, ensure_ascii=False) + "\n")
    world.source("large", iterator="files", key="id", options={"path": "large.jsonl"})
    assert world.commit("large").rows == 1
