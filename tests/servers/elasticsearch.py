"""Servers that speak Elasticsearch's and OpenSearch's API: two emulators from PyPI, each with what the other lacks.

    Elasticsearch   noida-db      what the official client asks for; forgets a delete's version at once, as a real
                                  server does after `index.gc_deletes`; keeps its data
    OpenSearch      osmem-server  the rules of versions, also after deletes; refuses the media types of the
                                  official client; in memory: a restart empties it

No server of Elastic's and no OpenSearch is involved.
"""

import importlib.util
import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers.kafka import find_program as find_noida
from tests.servers.process import Server, ServerUnavailableError, unique_name

ANSWER_SECONDS_MAX = 2


class SearchServer(Server):
    """What both have in common: plain HTTP without users; a `database` is the first part of indices' names."""

    def ping(self) -> None:
        self.ask("GET", "/", seconds=ANSWER_SECONDS_MAX)

    def url(self, database: str = "") -> str:
        """Return the server's URL; `database` is no part of it."""
        return f"http://{self.host}:{self.port}"

    def create_database(self, prefix: str = "test") -> str:
        """Return a first part for names of indices that no other test uses."""
        return unique_name(prefix)

    def drop_database(self, database: str) -> None:
        """Delete the indices whose names begin with `database`."""
        for index in self.ask("GET", "/_all/_settings"):
            if index.startswith(database):
                self.ask("DELETE", f"/{index}")

    def ask(self, method: str, path: str, body: Any = None, *, seconds: float = 30) -> Any:
        """Return the server's answer to one plain request, without any client library in between."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url() + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.loads(answer.read() or "null")


class Elasticsearch(SearchServer):
    """noida-db's Elasticsearch 8 API."""

    name = "elasticsearch"

    def prepare(self) -> None:
        find_noida(self.name)

    def command(self) -> list[str]:
        data = str(self.folder / "data")
        only = ["--only", "elasticsearch", "--elasticsearch-port", str(self.port)]
        return [str(find_noida(self.name)), "start", "--host", self.host, "--data-dir", data, *only]


class OpenSearch(SearchServer):
    """osmem-server's OpenSearch 3 API."""

    name = "opensearch"

    def prepare(self) -> None:
        find_osmem()

    def command(self) -> list[str]:
        return [str(find_osmem()), "-addr", f"{self.host}:{self.port}", "-no-stdin-watch", "-no-ja"]


def find_osmem() -> Path:
    """Return the path of osmem's server program. Raises ServerUnavailableError."""
    package = importlib.util.find_spec("osmem_server")
    for place in package.submodule_search_locations or [] if package else []:
        if (program := Path(place) / "bin" / "osmem-server").exists():
            return program
    raise ServerUnavailableError("start opensearch: the package osmem-server is not installed; run: make venv")
