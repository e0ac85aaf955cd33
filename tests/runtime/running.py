"""A real `differ run` in a process of its own, followed by its log, and called by HTTP."""

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.canary import check_text
from tests.cli.shop import COMMAND, Shop

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def states(self) -> dict[str, str]:
        """Of an answer about modules: each one's state."""
        return {entry["module"]: entry["state"] for entry in self.json["modules"]}


class Running:
    """A running process; `seen` holds the messages of its log that were read so far."""

    def __init__(self, shop: Shop, *arguments: str) -> None:
        self.seen: list[str] = []
        command = [*COMMAND, "run", *arguments, "--log-format", "json", "--project", str(shop.folder)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        assert self.process.stderr is not None
        self._lines = self.process.stderr

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read the log until a message matches; a process that ends before that fails the test."""
        for line in self._lines:
            check_text(line, "the log")
            self.seen.append(json.loads(line)["message"])
            if found := re.search(pattern, self.seen[-1]):
                return found
        raise AssertionError(f"{pattern!r} was not logged: {self.seen}")

    def serves(self) -> str:
        """The URL, once it listens."""
        return self.wait_for(r"listening on (http://\S+)")[1]

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit code; the rest of the log is in `seen`."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=DEADLINE_SECONDS), None
        self.seen += [json.loads(line)["message"] for line in (rest[1] or "").splitlines()]
        return self.process.returncode


@contextmanager
def running(shop: Shop, *arguments: str) -> Iterator[Running]:
    """A real `differ run` that is ended at the end, whatever happened; it must end with 0."""
    made = Running(shop, *arguments)
    try:
        yield made
    except BaseException:
        made.process.kill()
        made.process.communicate()
        raise
    if made.process.poll() is None:
        assert made.end() == 0, made.seen


def call(url: str, method: str = "GET", token: str | None = None) -> Answer:
    """One call, whatever it answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
            return Answer(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode())


@contextmanager
def taken_port() -> Iterator[tuple[int, socket.socket]]:
    """A port of this machine that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1], server
