"""The servers themselves: each starts, writes and reads, survives a kill with its data, and can be frozen.

They have their own instances here, since what other tests share must not be killed under them.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy
from pymongo import MongoClient

from tests.conftest import serve
from tests.servers import MariaDB, MongoDB, PostgreSQL, Server
from tests.servers.ports import FIRST_PORT, LAST_PORT, LOOPBACK, free_port, is_free

FROZEN_SECONDS = 0.5

pytestmark = pytest.mark.service


@pytest.fixture(scope="module", params=[PostgreSQL, MariaDB, MongoDB], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from serve(request.param())


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    server.ensure()
    name = server.create_database()
    yield name
    server.ensure()
    server.drop_database(name)


def test_write_and_read(server: Server, database: str) -> None:
    write(server, database, "first")
    assert read(server, database) == ["first"]


def test_databases_are_apart(server: Server, database: str) -> None:
    write(server, database, "here")
    other = server.create_database()
    write(server, other, "there")
    assert read(server, database) == ["here"]
    server.drop_database(other)


def test_listens_on_loopback_only(server: Server, database: str) -> None:
    listening = [
        connection.laddr
        for connection in psutil.Process(server.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert [(address.ip, address.port) for address in listening] == [(LOOPBACK, server.port)]


@pytest.mark.crash
def test_kill_and_restart_keep_the_data(server: Server, database: str) -> None:
    write(server, database, "kept")
    port, pid = server.port, server.pid
    server.kill()
    assert not server.running
    assert is_free(port)
    server.start()
    assert (server.port, read(server, database)) == (port, ["kept"])
    assert server.pid != pid


def test_restart_keeps_port_and_data(server: Server, database: str) -> None:
    write(server, database, "kept")
    port = server.port
    server.restart()
    assert (server.port, read(server, database)) == (port, ["kept"])


def test_frozen_server_answers_only_after_thaw(server: Server, database: str) -> None:
    write(server, database, "late")
    answers: list[list[str]] = []
    reader = threading.Thread(target=lambda: answers.append(read(server, database)), daemon=True)
    server.freeze()
    try:
        reader.start()
        reader.join(FROZEN_SECONDS)
        assert answers == []
    finally:
        server.thaw()
    reader.join(30)
    assert answers == [["late"]]


def test_ensure_mends_what_a_test_left(server: Server, database: str) -> None:
    server.kill()
    server.ensure()
    server.freeze()
    server.ensure()
    assert read(server, database) == []


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB, MongoDB], ids=lambda kind: kind.name)
def test_nothing_is_left_behind(kind: Callable[[], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = kind()
    for _ in serve(server):
        pid, folder, port = server.pid, server.folder, server.port
    assert (psutil.pid_exists(pid), folder.exists(), is_free(port)) == (False, False, True)


@pytest.mark.crash
def test_nothing_is_left_behind_by_killed_tests() -> None:
    script = """
from tests.servers import MongoDB
server = MongoDB()
server.start()
print(server.pid, server.folder, flush=True)
input()
"""
    command = [sys.executable, "-c", script]
    tests = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with tests:
        assert tests.stdout is not None
        words = tests.stdout.readline().split()
        tests.kill()
    pid, folder = int(words[0]), Path(words[1])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (psutil.pid_exists(pid) or folder.exists()):
        time.sleep(0.05)
    assert (psutil.pid_exists(pid), folder.exists()) == (False, False)


def test_fixture_urls(postgresql_url: str, mariadb_url: str, mongodb_url: str) -> None:
    for url in (postgresql_url, mariadb_url):
        engine = sqlalchemy.create_engine(url)
        assert sqlalchemy.inspect(engine).get_table_names() == []
        engine.dispose()
    with MongoClient[dict[str, object]](mongodb_url) as client:
        assert client.get_default_database().list_collection_names() == []


def test_a_taken_port_is_not_free() -> None:
    port = free_port()
    assert FIRST_PORT <= port <= LAST_PORT
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port)


def write(server: Server, database: str, text: str) -> None:
    """Store one text, durably as far as the server promises."""
    if isinstance(server, MongoDB):
        with MongoClient[dict[str, object]](server.url(database)) as client:
            client[database]["notes"].insert_one({"text": text})
        return
    engine = sqlalchemy.create_engine(server.url(database))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS notes (text VARCHAR(50) PRIMARY KEY)")
        connection.execute(sqlalchemy.text("INSERT INTO notes VALUES (:text)"), {"text": text})
    engine.dispose()


def read(server: Server, database: str) -> list[str]:
    """Return every text of `database`; none when nothing was written."""
    if isinstance(server, MongoDB):
        with MongoClient[dict[str, str]](server.url(database)) as client:
            return [note["text"] for note in client[database]["notes"].find()]
    engine = sqlalchemy.create_engine(server.url(database))
    try:
        if not sqlalchemy.inspect(engine).has_table("notes"):
            return []
        with engine.connect() as connection:
            return list(connection.execute(sqlalchemy.text("SELECT text FROM notes")).scalars())
    finally:
        engine.dispose()
