"""A MongoDB-protocol server: SecantusDB from PyPI, in a process of its own. No mongod is involved.

It tells clients that it is the primary of a one-member replica set, so transactions and sessions work. A
transaction with snapshot read concern isolates; `start_session(snapshot=True)` does not.
"""

import sysconfig
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from tests.servers.process import Server, ServerUnavailableError, unique_name

PING_MILLISECONDS_MAX = 2000


class MongoDB(Server):
    """A MongoDB-protocol server without users or passwords; what it acknowledges is on disk."""

    name = "mongodb"

    def prepare(self) -> None:
        find_program()

    def command(self) -> list[str]:
        return [
            str(find_program()),
            "--host",
            self.host,
            "--port",
            str(self.port),
            "--storage-path",
            str(self.folder / "data"),
            "--cache-size",
            "128M",
            "--sync-on-commit",
        ]

    def ping(self) -> None:
        with self._client() as client:
            client.admin.command("ping")

    def url(self, database: str = "") -> str:
        return f"mongodb://{self.host}:{self.port}/{database}"

    def create_database(self, prefix: str = "test") -> str:
        """Return a name nobody uses: a MongoDB database comes into being with its first document."""
        return unique_name(prefix)

    def drop_database(self, database: str) -> None:
        with self._client() as client:
            client.drop_database(database)

    def _client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.url(), serverSelectionTimeoutMS=PING_MILLISECONDS_MAX, timeoutMS=60_000)


def find_program() -> Path:
    """Return the path of the server in this environment. Raises ServerUnavailableError."""
    program = Path(sysconfig.get_path("scripts")) / "secantusd-py"
    if not program.exists():
        raise ServerUnavailableError("start mongodb: the package secantusdb is not installed; run: make venv")
    return program
