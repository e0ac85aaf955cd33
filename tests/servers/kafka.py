"""A Kafka-protocol server: noida-db from PyPI, in a process of its own. No Apache Kafka is involved.

Idempotent producers, keys, headers and tombstones work as in Kafka. It tells clients its own address, as a
broker does, so a proxy before it is bypassed: an outage is a server that is frozen, stopped or killed.
"""

import importlib.util
from pathlib import Path

from confluent_kafka.admin import AdminClient

from tests.servers.process import Server, ServerUnavailableError, unique_name

ANSWER_SECONDS_MAX = 2


class Kafka(Server):
    """A Kafka-protocol server of one broker without users; topics come into being when they are written to."""

    name = "kafka"

    def prepare(self) -> None:
        find_program(self.name)

    def command(self) -> list[str]:
        data = str(self.folder / "data")
        only = ["--only", "kafka", "--kafka-port", str(self.port)]
        return [str(find_program(self.name)), "start", "--host", self.host, "--data-dir", data, *only]

    def ping(self) -> None:
        self._admin().list_topics(timeout=ANSWER_SECONDS_MAX)

    def url(self, database: str = "") -> str:
        """Return the bootstrap servers; `database`, the first part of topics' names, is no part of it."""
        return f"{self.host}:{self.port}"

    def create_database(self, prefix: str = "test") -> str:
        """Return a first part for names of topics that no other test uses."""
        return unique_name(prefix)

    def drop_database(self, database: str) -> None:
        """Delete the topics whose names begin with `database`."""
        admin = self._admin()
        topics = [name for name in admin.list_topics(timeout=30).topics if name.startswith(database)]
        for done in admin.delete_topics(topics).values() if topics else ():
            done.result(30)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.url(), "log_level": 0})


def find_program(server: str) -> Path:
    """Return the path of noida-db's program: the script of that name is a wrapper that leaves it running.

    Raises ServerUnavailableError, which names the `server` that wanted it.
    """
    package = importlib.util.find_spec("noida_db")
    for place in package.submodule_search_locations or [] if package else []:
        if (program := Path(place) / "noida-db").exists():
            return program
    raise ServerUnavailableError(f"start {server}: the package noida-db is not installed; run: make venv")
