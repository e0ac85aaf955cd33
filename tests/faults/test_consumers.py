"""One consumer of many that stops reading: the relay's memory is bounded, and all others come to the head as before.

See also tests/client/test_outages.py (killed between processing and checkpoint: the same keys come again),
tests/client/test_failures.py (poison events), tests/client/test_stalled.py and tests/server/test_slow_clients.py.
"""

import asyncio
import json
import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

import differ
from tests.cli.shop import Shop, table
from tests.faults.conftest import sized
from tests.runtime.running import call, running

ROWS = 200
BIG_ROWS, BIG_TEXT = 600, "t" * 20_000
"""Twelve megabytes are more than sockets hold, so that whoever does not read them keeps the relay waiting."""
ROUNDS = 3
MIB = 1 << 20
AT_ONCE = 200
"""So many connections are opened at a time: a listener has room for no more than some thousand that wait."""


async def read_on(address: tuple[str, int], since: int) -> int:
    """Read everything after an SCN, as a consumer does; returns how far it came."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET /v1/stream?source=orders&since={since} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    body = bytearray()
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    writer.close()
    scns = [json.loads(line)["scn"] for line in body.splitlines()]
    assert scns == list(range(since + 1, since + 1 + len(scns)))
    return scns[-1] if scns else since


async def all_read_on(address: tuple[str, int], places: list[int]) -> list[int]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(since: int) -> int:
        async with room:
            return await read_on(address, since)

    return await asyncio.gather(*(one(since) for since in places))


def highest(process: psutil.Process) -> int:
    """The most memory that a process ever held, in bytes."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM:"))


@pytest.mark.timeout(600)
def test_one_stalled_of_many(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    sources = {"big": table("big"), "orders": table("orders", guards={"updates": "100%"})}
    shop.configure(sources, relay={"listen": "127.0.0.1:0"})
    big = ", ".join(f"({number}, '{BIG_TEXT}')" for number in range(BIG_ROWS))
    shop.sql("CREATE TABLE big (id INTEGER PRIMARY KEY, t TEXT)", f"INSERT INTO big VALUES {big}")
    shop.orders(ROWS)
    places = [BIG_ROWS] * sized(40, 999)
    with ExitStack() as stack:
        relay = stack.enter_context(running(shop, "--only", "relay"))
        url = relay.serves()
        address = (str(urlsplit(url).hostname), int(urlsplit(url).port or 0))
        process = psutil.Process(relay.process.pid)
        project = stack.enter_context(differ.open(shop.folder))
        assert [result.inserts for result in project.scan_all()] == [BIG_ROWS, ROWS]
        stalled = stack.enter_context(socket.socket())
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(address)
        stalled.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert stalled.recv(12) == b"HTTP/1.1 200"
        first = 0
        for number in range(1, ROUNDS + 1):
            places = asyncio.run(all_read_on(address, places))
            assert set(places) == {BIG_ROWS + ROWS * number}, "somebody fell behind"
            first = first or highest(process)
            shop.sql(f"UPDATE orders SET status = 'paid {number}'")
            assert project.scan("orders").updates == ROWS
        grown = highest(process) - first
        assert grown < 100 * MIB, f"{grown / MIB:.0f} MiB more than when everybody had read once"
        assert first < 600 * MIB
        assert call(f"{url}/v1/stream?since={BIG_ROWS + ROWS * ROUNDS}&limit=1").status == 200
