"""Driver errors as differ's own: one paragraph with operation, object and cause, and never a password.

    cannot connect, refused, died, locked, asked to come again   SourceUnavailableError   transient
    no such table or column, bad SQL, no permission, the rest    SourceError              final

The kind is told by SQLSTATE (PostgreSQL), error number (MariaDB, MySQL) or result code (SQLite), not by words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from differ.config import transit
from differ.errors import DifferError, SourceError, SourceUnavailableError

CAUSE_CHARACTERS_MAX = 400

_EXTRAS = {
    "psycopg": "postgresql", "psycopg2": "postgresql", "MySQLdb": "mariadb", "pymysql": "mariadb",
}  # fmt: skip
_HINTS_UNAVAILABLE = "check the url, the network and whether the server is up; nothing was committed"
_HINT_PASSWORD = "check user, password and database of the url"  # noqa: S105

# PostgreSQL: SQLSTATE class or code -> hint. https://www.postgresql.org/docs/current/errcodes-appendix.html
_PG_UNAVAILABLE = {
    "08": _HINTS_UNAVAILABLE,
    "28": _HINT_PASSWORD,
    "3D": _HINT_PASSWORD,
    "53": "the server is out of a resource; try again later",
    "57P": _HINTS_UNAVAILABLE,
    "40": "a standby cancels long reads; raise max_standby_streaming_delay or read the primary",
    "55P03": "another transaction holds a lock; try again later",
}
_PG_FINAL = {
    "42P01": "check `table` or the query's table names",
    "42703": "check the column names of the options",
    "42501": "grant SELECT to the user of the url",
    "42601": "check `where` or the query: they are sent to the server as they are",
    "57014": "the server's statement_timeout or a person ended the query",
    "25006": "a source is only ever read; the query writes",
}
_PG_TLS = re.compile(r"\bSSL\b|certificate")
"""While it connects psycopg has no SQLSTATE, only words."""
# MariaDB and MySQL: https://mariadb.com/kb/en/mariadb-error-code-reference/
_MY_PASSWORD = {1044, 1045, 1049, 1698, 4151}
_MY_UNAVAILABLE = {1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1205, 1213, 1317, 1412, 1927, *range(2000, 2060)}
_MY_TLS = 2026
_MY_FINAL = {
    1146: "check `table` or the query's table names",
    1054: "check the column names of the options",
    1142: "grant SELECT to the user of the url",
    1143: "grant SELECT to the user of the url",
    1064: "check `where` or the query: they are sent to the server as they are",
    1060: "name one of the two columns with AS",
    1792: "a source is only ever read; the query writes",
}
_SQLITE_UNAVAILABLE = {"BUSY", "LOCKED", "CANTOPEN", "IOERR", "PROTOCOL", "INTERRUPT"}
_SQLITE_HINTS = {
    "BUSY": "another process writes to the file; try again, or raise connect_args: {timeout: 60}",
    "LOCKED": "another process writes to the file; try again, or raise connect_args: {timeout: 60}",
    "CANTOPEN": "check the path and its permissions",
    "NOTADB": "the file is no SQLite database",
    "CORRUPT": "the file is damaged; see PRAGMA integrity_check",
    "READONLY": "a source is only ever read; the query writes",
    "READONLY_ROLLBACK": "a writer crashed and left a journal; let its application open the file once",
    "READONLY_RECOVERY": "a writer crashed and left a log; let its application open the file once",
    "READONLY_CANTINIT": "the folder of a database in WAL mode must be writable, or an application must have it open",
}


@contextmanager
def mapped(source: str, operation: str, url: sa.URL | None = None) -> Iterator[None]:
    """Turn what SQLAlchemy and drivers raise inside the block into a SourceError or SourceUnavailableError."""
    where = f" to {_place(url)}" if url is not None else ""
    prefix = f"scan {source}: {operation}{where}"
    try:
        yield
    except DifferError:
        raise
    except ImportError as error:
        raise _missing_driver(prefix, error) from None
    except sa.exc.DBAPIError as error:
        raise _from_driver(prefix, error.orig, error.connection_invalidated) from None
    except sa.exc.SQLAlchemyError as error:
        raise SourceError(f"{prefix}: {_one_line(str(error))}", hint="check the options of the source") from None
    except Exception as error:
        # A driver's own error outside of SQLAlchemy's care; anything else is a bug and keeps its traceback.
        if type(error).__module__.split(".")[0] not in ("sqlite3", "psycopg", "psycopg2", "MySQLdb", "pymysql"):
            raise
        raise _from_driver(prefix, error, False) from None


def _from_driver(prefix: str, error: Any, invalidated: bool) -> SourceError:
    if isinstance(error, ImportError):
        return _missing_driver(prefix, error)
    kind, hint = _classify(error, invalidated)
    return kind(f"{prefix}: {_one_line(_text(error))}", hint=hint)


def _classify(error: Any, invalidated: bool) -> tuple[type[SourceError], str]:
    name: str | None = getattr(error, "sqlite_errorname", None)
    if name is not None:
        code = name.removeprefix("SQLITE_")
        primary = code.split("_")[0]
        hint = _SQLITE_HINTS.get(code) or _SQLITE_HINTS.get(primary, "check the table, the columns and the query")
        return (SourceUnavailableError if primary in _SQLITE_UNAVAILABLE else SourceError), hint
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str):
        return _by_state(state)
    number = error.args[0] if error is not None and error.args else None
    if isinstance(number, int):
        return _by_number(number)
    module = type(error).__module__.split(".")[0]
    if invalidated or (type(error).__name__ in ("OperationalError", "InterfaceError") and module != "sqlite3"):
        text = _text(error)
        if module.startswith("psycopg") and _PG_TLS.search(text):
            return SourceUnavailableError, transit.HINT
        wrong_user = "authentication failed" in text or "does not exist" in text or "no password" in text
        return SourceUnavailableError, _HINT_PASSWORD if wrong_user else _HINTS_UNAVAILABLE
    return SourceError, "check the table, the columns and the query"


def _by_state(state: str) -> tuple[type[SourceError], str]:
    for code, hint in _PG_UNAVAILABLE.items():
        if state.startswith(code):
            return SourceUnavailableError, hint
    return SourceError, _PG_FINAL.get(state, "check the table, the columns and the query")


def _by_number(number: int) -> tuple[type[SourceError], str]:
    if number in _MY_PASSWORD:
        return SourceUnavailableError, _HINT_PASSWORD
    if number == _MY_TLS:
        return SourceUnavailableError, transit.HINT
    if number in _MY_UNAVAILABLE:
        return SourceUnavailableError, _HINTS_UNAVAILABLE
    return SourceError, _MY_FINAL.get(number, "check the table, the columns and the query")


def _missing_driver(prefix: str, error: ImportError) -> SourceError:
    module = (error.name or "").split(".")[0]
    extra = _EXTRAS.get(module)
    hint = f'pip install "differ-cdc[{extra}]"' if extra else f"pip install the driver {module or 'of the url'}"
    return SourceError(f"{prefix}: the driver {module!r} is not installed", hint=hint)


def _text(error: Any) -> str:
    if error is not None and len(error.args) == 2 and isinstance(error.args[0], int):
        return f"{error.args[1]} ({error.args[0]})"
    return str(error)


def _one_line(text: str) -> str:
    """The cause in one line, without SQLAlchemy's link, psycopg's drawing of the place, or the values of a row."""
    text = re.split(r"\(Background on this error|\[SQL:", text)[0]
    text = re.sub(r"\n\s*LINE \d+:.*", "", text, flags=re.DOTALL)
    text = re.sub(r"\bwith text '.*", "", text, flags=re.DOTALL)
    text = " ".join(text.split()).rstrip(" .;:")
    return text if len(text) <= CAUSE_CHARACTERS_MAX else text[: CAUSE_CHARACTERS_MAX - 3] + "..."


def _place(url: sa.URL) -> str:
    if url.host is None:
        return f"{url.get_backend_name()} {url.database or ''}".rstrip()
    user = f"{url.username}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()} {user}{url.host}{port}/{url.database or ''}"
