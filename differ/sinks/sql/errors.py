"""What a driver raises, by what has to be done about it.

    cannot connect, died, locked, deadlock, disk full, read-only stand-by   SinkUnavailableError   tried again
    a value too long, out of range, null, not unique, of a wrong type       RefusedError           the record's fault
    no such table, no permission, wrong password, bad SQL                   SinkError              a person mends it

The kind is told by SQLSTATE (PostgreSQL), error number (MariaDB, MySQL), result code (SQLite), else by the DB-API's
classes. Invariant: no text holds a row's values or a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from differ.config import transit
from differ.errors import DifferError, SinkError, SinkUnavailableError
from differ.sinks.contract import RefusedError

CAUSE_CHARACTERS_MAX = 300
_LOGIN = re.compile(
    r"password|authentication|no pg_hba\.conf entry|FATAL: +(?:database|role) .* (?:does not exist|is not permitted)"
    r"|FATAL: +permission denied for database"
)
"""While it connects psycopg has no SQLSTATE, only the server's words."""
_TLS = re.compile(r"\bSSL\b|certificate verify")
_EXTRAS = {"psycopg": "postgresql", "MySQLdb": "mariadb"}
_DRIVERS = ("sqlite3", "psycopg", "psycopg2", "MySQLdb", "pymysql")

# SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_PG_DOWN = ("08", "25006", "40", "53", "55P03", "57P", "58", "XX000")
_PG_REFUSED = ("22", "23", "54000")
# https://mariadb.com/kb/en/mariadb-error-code-reference/
_MY_DOWN = {
    1021, 1028, 1040, 1053, 1077, 1114, 1152, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1317, 1836, 1927,
    *range(2000, 2060),
}  # fmt: skip
_MY_REFUSED = {
    1048, 1062, 1118, 1153, 1169, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1411, 1416, 1451, 1452, 1586, 1690,
    3140, 3819, 4025, 4078,
}  # fmt: skip
_SQLITE_DOWN = {"BUSY", "LOCKED", "IOERR", "FULL", "CANTOPEN", "PROTOCOL", "INTERRUPT", "NOMEM"}
_SQLITE_REFUSED = {"CONSTRAINT", "TOOBIG", "MISMATCH"}
_HINT_DOWN = "it is tried again by itself; nothing is lost meanwhile"
_HINT_REFUSED = "mend the record, the column's type, or the mapping"
_HINTS = {
    "28": "check user, password and database of the url",
    "3D": "check user, password and database of the url",
    "42501": "grant SELECT, INSERT, UPDATE and DELETE, and CREATE where the sink makes its tables",
    "42P10": "the table needs a primary key or unique index on the key's columns",
    "TLS": transit.HINT,
    "2026": transit.HINT,
    "1044": "check user, password and database of the url",
    "1045": "check user, password and database of the url",
    "1049": "check user, password and database of the url",
    "1142": "grant SELECT, INSERT, UPDATE and DELETE, and CREATE where the sink makes its tables",
}


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Turn what SQLAlchemy and drivers raise inside the block into the right SinkError. what: `sink x: ..`."""
    try:
        yield
    except DifferError:
        raise
    except ImportError as error:
        raise _missing_driver(what, error) from None
    except sa.exc.DBAPIError as error:
        raise _from_driver(what, error.orig, type(error), error.connection_invalidated) from None
    except (OverflowError, UnicodeEncodeError) as error:
        raise RefusedError(f"{what}: {_one_line(str(error))}", hint=_HINT_REFUSED) from None
    except sa.exc.SQLAlchemyError as error:
        raise SinkError(f"{what}: {_one_line(str(error))}", hint="check the options of the sink") from None
    except Exception as error:
        # A driver's own error, raised past SQLAlchemy; anything else is a bug and keeps its traceback.
        if type(error).__module__.split(".")[0] not in _DRIVERS:
            raise
        raise _from_driver(what, error, type(error), False) from None


def _from_driver(what: str, error: Any, kind: type, invalidated: bool) -> SinkError:
    if isinstance(error, ImportError):
        return _missing_driver(what, error)
    made, code = _classify(error, kind.__name__, invalidated)
    hint = _HINTS.get(code) or _HINTS.get(code[:2])
    if hint is None:
        hint = {SinkUnavailableError: _HINT_DOWN, RefusedError: _HINT_REFUSED}.get(made, "check the sink's tables")
    return made(f"{what}: {_one_line(_text(error))}", hint=hint)


def _classify(error: Any, kind: str, invalidated: bool) -> tuple[type[SinkError], str]:
    """The kind of an error and the code it was told by."""
    name: str | None = getattr(error, "sqlite_errorname", None)
    if name is not None:
        code = name.removeprefix("SQLITE_").split("_")[0]
        return _chosen(code in _SQLITE_DOWN, code in _SQLITE_REFUSED), code
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str):
        return _chosen(state.startswith(_PG_DOWN), state.startswith(_PG_REFUSED)), state
    number = error.args[0] if error is not None and error.args else None
    if isinstance(number, int) and number:
        return _chosen(number in _MY_DOWN, number in _MY_REFUSED), str(number)
    if _LOGIN.search(str(error)):
        return SinkError, "28"
    if _TLS.search(str(error)):
        return SinkUnavailableError, "TLS"
    down = invalidated or kind in ("OperationalError", "InterfaceError")
    return _chosen(down, kind in ("DataError", "IntegrityError")), ""


def _chosen(down: bool, refused: bool) -> type[SinkError]:
    return SinkUnavailableError if down else RefusedError if refused else SinkError


def _missing_driver(what: str, error: ImportError) -> SinkError:
    module = (error.name or "").split(".")[0]
    extra = _EXTRAS.get(module)
    hint = f'pip install "differ-cdc[{extra}]"' if extra else f"pip install the driver {module or 'of the url'}"
    return SinkError(f"{what}: the driver {module!r} is not installed", hint=hint)


def _text(error: Any) -> str:
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if primary:
        return str(primary)
    if error is not None and len(error.args) == 2 and isinstance(error.args[0], int):
        return f"{error.args[1]} ({error.args[0]})"
    return str(error)


def _one_line(text: str) -> str:
    """The cause in one line, without SQLAlchemy's link, the statement, or the values of a row."""
    text = re.split(r"\(Background on this error|\[SQL:|\nDETAIL:|\nCONTEXT:", text)[0]
    text = re.sub(r"Duplicate entry '.*' for", "Duplicate entry for", text, flags=re.DOTALL)
    text = re.sub(r"(Incorrect \S+ value|Data truncation): '.*?' for", r"\1 for", text, flags=re.DOTALL)
    text = re.sub(r'(invalid input syntax for type [^:]+|value): ".*', r"\1", text, flags=re.DOTALL)
    text = " ".join(text.split()).rstrip(" .;:")
    return text if len(text) <= CAUSE_CHARACTERS_MAX else text[: CAUSE_CHARACTERS_MAX - 3] + "..."
