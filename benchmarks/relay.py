"""The relay on loopback: events a second to its clients, time from commit to callback, memory with waiting clients.

    python benchmarks/relay.py [--events 2000000] [--rounds 5] [--commits 60] [--json FILE]

Events hold about 300 bytes. Relay, scans and each client are processes of their own. Rates: what all clients together
get through from SCN 0 on, connecting included: as Arrow (batches of the Python client), through `on_event` callbacks,
and as NDJSON and Avro bytes of a plain HTTP client that counts and throws away. Time from commit to callback: from the
moment in the catalog's window (taken as its commit begins) to the call of `on_event`. Memory: anonymous memory of the
relay's process with clients that wait in a long poll.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

DIFFER = (sys.executable, "-P", "-m", "differ")
SCHEDULER = """\
version: 1
sources:
  events:
    iterator: files
    options: {{path: events.parquet}}
    key: id
  clock:
    iterator: files
    options: {{path: clock.parquet}}
    key: id
relay: {{listen: "127.0.0.1:{port}"}}
"""
WAITING = (1, 100, 1000)


def main() -> None:
    """Make a stream, run every measure, print the table."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="differ-bench-") as name:
        folder = Path(name)
        port = _free_port()
        (folder / "scheduler.yaml").write_text(SCHEDULER.format(port=port))
        size = _make_events(folder, arguments.events)
        report: dict[str, Any] = {"machine": _machine(), "events": arguments.events, "event_bytes": size}
        with _relay(folder, port) as relay:
            url = f"http://127.0.0.1:{port}"
            for clients, kind in ((1, "arrow"), (4, "arrow"), (1, "callbacks"), (1, "ndjson"), (1, "avro")):
                events = arguments.events // {"arrow": 1, "callbacks": 2, "ndjson": 5, "avro": 10}[kind]
                rates = [_rate(url, kind, clients, events) for _ in range(arguments.rounds)]
                report[f"{kind}, {clients} client{'s' * (clients > 1)}"] = _spread(rates)
            report["commit to callback, ms"] = _latency(folder, url, arguments.commits)
            report["relay's anonymous MB by waiting clients"] = _memory(relay.pid, port)
    _print(report)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commits", type=int, default=60)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--client", nargs=3, metavar=("URL", "KIND", "EVENTS"), help=argparse.SUPPRESS)
    parser.add_argument("--wait", nargs=2, metavar=("URL", "COMMITS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        _read(arguments.client[0], arguments.client[1], int(arguments.client[2]))
        sys.exit(0)
    if arguments.wait:
        _listen(arguments.wait[0], int(arguments.wait[1]))
        sys.exit(0)
    return arguments


def _make_events(folder: Path, count: int) -> float:
    """Two scans, so that every event is an insert of the first; returns the bytes of an event as NDJSON."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"""
            COPY (SELECT range AS id, ['new', 'paid', 'sent'][1 + range % 3] AS status,
                         (range % 100000 / 100)::DECIMAL(15, 2) AS total,
                         TIMESTAMP '2026-01-01' + INTERVAL (range) SECOND AS at,
                         md5(range::VARCHAR) || md5((range + 1)::VARCHAR) || md5((range + 2)::VARCHAR) AS note
                  FROM range({count})) TO '{folder}/events.parquet'""")
        connection.execute(f"COPY (SELECT 1 AS id, 0 AS tick) TO '{folder}/clock.parquet'")
    _scan(folder, "events")
    line = subprocess.run(
        [*DIFFER, "events", "--limit", "1000", "--format", "ndjson", "--project", str(folder)],
        check=True,
        capture_output=True,
    ).stdout
    return len(line) / 1000


def _scan(folder: Path, source: str) -> dict[str, Any]:
    command = [*DIFFER, "scan", "--source", source, "--json", "--project", str(folder)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(found.stdout)
    return result


class _relay:  # noqa: N801
    """`differ run --only relay` in a process of its own, until the end of the block."""

    def __init__(self, folder: Path, port: int) -> None:
        command = [*DIFFER, "run", "--only", "relay", "--project", str(folder)]
        self._log = (folder / "relay.log").open("wb")
        self._process = subprocess.Popen(command, stderr=self._log)
        self.pid = self._process.pid
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"the relay did not start: {(folder / 'relay.log').read_text()}")

    def __enter__(self) -> _relay:
        return self

    def __exit__(self, *details: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


def _rate(url: str, kind: str, clients: int, events: int) -> float:
    """Events a second that all clients together get through."""
    command = [sys.executable, __file__, "--client", url, kind, str(events)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(clients)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # imports are done
    start = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    counts = [int(process.communicate()[0]) for process in processes]
    seconds = max(time.perf_counter() - start, 1e-9)
    assert all(count >= events for count in counts), (kind, counts)
    return sum(counts) / seconds


def _read(url: str, kind: str, events: int) -> None:
    """One client process: says that it is ready, waits for the word, reads, prints how many events it got."""
    import urllib3

    from differ.client import Client, Consumer, Next

    pool = urllib3.PoolManager()
    print("ready", flush=True)
    sys.stdin.readline()
    count = 0
    if kind == "arrow":
        for batch in Client(url).batches(sources=["events"], since=0):
            count += batch.to_arrow().num_rows
            if count >= events:
                break
    elif kind == "callbacks":

        class Count(Consumer):
            def __init__(self) -> None:
                self.seen = 0

            def on_event(self, event: Any) -> Next | None:
                self.seen += 1
                return Next.STOP if self.seen >= events else None

        consumer = Count()
        Client(url).run(
            consumer,
            name="bench",
            sources=["events"],
            start="oldest",
            checkpoints=_Memory(),
            register=False,
            until_head=True,
        )
        count = consumer.seen
    else:
        answer = pool.request(
            "GET", f"{url}/v1/stream?source=events&since=0&limit={events}&format={kind}", preload_content=False
        )
        for chunk in answer.stream(1 << 20):
            count += chunk.count(b"\n") if kind == "ndjson" else 0
        count = count if kind == "ndjson" else events
    print(count)


class _Memory:
    """Checkpoints that end with the process, so that each round begins where the last one did."""

    kept: Any = None

    def load(self) -> Any:
        return self.kept

    def save(self, checkpoint: Any) -> None:
        self.kept = checkpoint


def _latency(folder: Path, url: str, commits: int) -> dict[str, float]:
    """Milliseconds from commit to callback over so many scans in processes of their own."""
    import duckdb

    _scan(folder, "clock")
    command = [sys.executable, __file__, "--wait", url, str(commits)]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    listener.stdout.readline()
    for tick in range(1, commits + 1):
        with duckdb.connect() as connection:
            connection.execute(f"COPY (SELECT 1 AS id, {tick} AS tick) TO '{folder}/clock.parquet'")
        _scan(folder, "clock")
    seen = dict(json.loads(line) for line in listener.communicate(timeout=60)[0].splitlines())
    import differ

    with differ.open(folder) as project:
        moments = {window.last: window.committed_at.timestamp() for window in project.catalog.windows()}
    waits = sorted((moment - moments[int(scn)]) * 1000 for scn, moment in seen.items())
    return {
        "p50": statistics.median(waits),
        "p99": waits[min(len(waits) - 1, int(len(waits) * 0.99))],
        "max": waits[-1],
        "commits": len(waits),
    }


def _listen(url: str, commits: int) -> None:
    from differ.client import Client, Consumer, Next

    class Listener(Consumer):
        seen = 0

        def on_event(self, event: Any) -> Next | None:
            self.seen += 1
            print(json.dumps([event.scn, time.time()]), flush=True)
            return Next.STOP if self.seen >= commits else None

    threading.Timer(1.0, lambda: print("ready", flush=True)).start()
    Client(url).run(Listener(), name="listener", sources=["clock"], start="head", checkpoints=_Memory(), register=False)


def _memory(pid: int, port: int) -> dict[int, float]:
    """Anonymous megabytes of the relay with so many clients in a long poll."""
    head = _head(port)
    found: dict[int, float] = {}
    sockets: list[socket.socket] = []
    request = f"GET /v1/stream?since={head}&wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for count in WAITING:
        while len(sockets) < count:
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(request)
            sockets.append(client)
        time.sleep(2)
        found[count] = _anonymous_bytes(pid) / 1e6
    for client in sockets:
        client.close()
    return found


def _head(port: int) -> int:
    import urllib3

    answer = urllib3.request("GET", f"http://127.0.0.1:{port}/v1/stream?since=0&limit=1")
    return int(answer.headers["Differ-Head"])


def _anonymous_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _print(report: dict[str, Any]) -> None:
    print(f"{report['machine']}; {report['events']} events of {report['event_bytes']:.0f} bytes as NDJSON")
    for name, value in report.items():
        if isinstance(value, dict) and "median" in value:
            print(f"{name:<24} {value['median']:12,.0f} events/s   ({value['least']:,.0f} .. {value['most']:,.0f})")
        elif isinstance(value, dict):
            print(f"{name}: " + ", ".join(f"{key}: {number:.1f}" for key, number in value.items()))


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("differ-cdc", "pyarrow", "uvicorn", "urllib3"))
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {system}; {versions}"


if __name__ == "__main__":
    main()
