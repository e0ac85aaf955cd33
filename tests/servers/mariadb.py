"""MariaDB: the Debian packages mariadb-server-core and mariadb-client-core, which start no system service."""

import contextlib
import os
import pwd
import shutil
from contextlib import closing
from pathlib import Path

import MySQLdb

from tests.servers.process import Server, ServerUnavailableError, unique_name

PACKAGES = "mariadb-server-core mariadb-client-core"
PLACES = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin")


class MariaDB(Server):
    """A MariaDB server with the user `root` and no password, utf8mb4, UTC."""

    name = "mariadb"

    def __init__(self) -> None:
        super().__init__()
        self.data = self.folder / "data"
        self.user = pwd.getpwuid(os.geteuid()).pw_name

    def prepare(self) -> None:
        for program in ("mariadbd", "my_print_defaults"):
            find_program(program)
        self.run(
            find_program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--user={self.user}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def command(self) -> list[str]:
        return [
            str(find_program("mariadbd")),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.folder / 'mariadb.sock'}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            f"--user={self.user}",
            "--character-set-server=utf8mb4",
            "--default-time-zone=+00:00",
            "--innodb-buffer-pool-size=64M",
        ]

    def ping(self) -> None:
        self._execute("SELECT 1")

    def url(self, database: str = "mysql") -> str:
        return f"mysql+mysqldb://root@{self.host}:{self.port}/{database}?charset=utf8mb4"

    def create_database(self, prefix: str = "test") -> str:
        database = unique_name(prefix)
        self._execute(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
        return database

    def drop_database(self, database: str) -> None:
        """Drop `database`; connections that still hold one of its tables in a transaction are ended first."""
        with closing(self._connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (database,))
            for (thread,) in cursor.fetchall():
                with contextlib.suppress(MySQLdb.OperationalError):  # It left by itself meanwhile.
                    cursor.execute(f"KILL CONNECTION {int(thread)}")
            cursor.execute(f"DROP DATABASE IF EXISTS `{database}`")

    def _execute(self, statement: str) -> None:
        with closing(self._connect()) as connection:
            connection.cursor().execute(statement)

    def _connect(self) -> MySQLdb.Connection:
        return MySQLdb.connect(host=self.host, port=self.port, user="root", connect_timeout=5)


def find_program(name: str) -> Path:
    """Return the path of `name`. Raises ServerUnavailableError, naming the Debian package."""
    found = shutil.which(name, path=":".join(PLACES))
    if found is None:
        raise ServerUnavailableError(
            f"start mariadb: no {name} in {', '.join(PLACES)}; on Debian: apt-get install {PACKAGES}"
        )
    return Path(found)
