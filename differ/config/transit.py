"""How a connection to a database is kept from those in between, where its settings do not say.

What leaves this machine goes by TLS, and the server must prove its name by a certificate of an authority that is
trusted here. Whoever wants less says so in the URL or in `connect_args`; whatever is said there counts.

    PostgreSQL          sslmode=verify-full        ?sslmode=disable       authority: ?sslrootcert=FILE
    MariaDB, MySQL      ssl_mode=VERIFY_IDENTITY   ?ssl_mode=DISABLED                ?ssl_ca=FILE
    MongoDB             tls=true                   ?tls=false                        ?tlsCAFile=FILE

Other databases are reached as their driver does it by itself. A driver that would go on in plain text where the server
offers no TLS is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus

from differ.config.local import is_local
from differ.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL

HINT = (
    "the server must speak TLS and prove its name: name its authority (sslrootcert, ssl_ca, tlsCAFile), or do without "
    "TLS explicitly (?sslmode=disable, ?ssl_mode=DISABLED, ?tls=false); see docs/operate.md"
)
SYSTEM_ROOTS_SINCE = 160_000
"""libpq that can trust what this machine trusts."""


def sql_arguments(url: URL, given: Mapping[str, Any]) -> dict[str, Any]:
    """What to add to the connect arguments of a SQLAlchemy URL with driver. given: its own, which count.

    Raises ConfigError for a driver that cannot be told to insist on TLS.
    """
    named = {name.lower() for name in (*url.query, *given)}
    if all(_is_near(host) for host in _sql_hosts(url, given)):
        return {}
    match url.get_backend_name(), url.get_driver_name():
        case "postgresql", "psycopg" | "psycopg2":
            return {} if named & {"sslmode", "service"} else _postgresql(url.get_driver_name(), named)
        case "mysql" | "mariadb", "mysqldb":
            return {} if "ssl_mode" in named else {"ssl_mode": "VERIFY_IDENTITY"}
        case "mysql" | "mariadb", "pymysql":
            if not any(name.startswith("ssl") for name in named):
                raise ConfigError(
                    "connect: pymysql goes on in plain text where the server offers no TLS",
                    hint="leave the driver out of the url, or add ?ssl_disabled=true or ?ssl_ca=FILE",
                )
    return {}


def mongo_arguments(url: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What to add to MongoClient's arguments for this URL."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    query = path.partition("?")[2] or authority.partition("?")[2]
    named = {name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)} | {name.lower() for name in given}
    hosts = [_without_port(host) for host in authority.partition("?")[0].rpartition("@")[2].split(",")]
    if scheme != "mongodb" or named & {"tls", "ssl"} or all(map(_is_near, hosts)):
        return {}  # mongodb+srv:// is with TLS by itself
    return {"tls": True}


def _postgresql(driver: str, named: set[str]) -> dict[str, Any]:
    arguments = {"sslmode": "verify-full"}
    own_roots = Path("~/.postgresql/root.crt").expanduser()
    if "sslrootcert" not in named and driver == "psycopg" and not own_roots.exists():
        from psycopg import pq

        if pq.version() >= SYSTEM_ROOTS_SINCE:
            arguments["sslrootcert"] = "system"
    return arguments


def _sql_hosts(url: URL, given: Mapping[str, Any]) -> Iterable[str]:
    """All hosts that the driver may connect to; PostgreSQL takes several."""
    found = [url.host or ""]
    for more in (url.query.get("host", ()), str(given.get("host") or "")):
        found += [more] if isinstance(more, str) else more
    return [_without_port(host) for one in found for host in one.split(",") if host]


def _is_near(host: str) -> bool:
    """Whether it is this machine: also a Unix socket, or nothing at all, which the driver takes for it."""
    return not host or host.startswith(("/", "@")) or is_local(host)


def _without_port(host: str) -> str:
    host = unquote_plus(host)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 or host.startswith("/") else host.partition(":")[0]
