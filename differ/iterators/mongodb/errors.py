"""Everything that pymongo raises, as errors that say what was done, on what, why, and what helps.

The server's own text is shown where it speaks of the configured filter, projection or pipeline, and nowhere else.

Invariant: no error of the driver passes as it is, and none carries a password or a value of a document.
Source: the error codes of the MongoDB server (base/error_codes.yml).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo import errors

from differ.errors import ConfigError, RecordError, SourceError, SourceUnavailableError
from differ.records.json_values import too_deep

_UNAVAILABLE: dict[int, tuple[str, str]] = {
    18: ("the server refused the credentials", "check user, password and authSource in the url"),
    8000: ("the server refused the credentials", "check user, password and authSource in the url"),
    43: ("the server closed the cursor in mid-scan", "scan again; larger batches keep a cursor busier"),
    50: ("the server ended the query for taking too long", "scan again, or raise maxTimeMS on the server"),
    237: ("the server closed the cursor in mid-scan", "scan again"),
    11601: ("the server interrupted the query", "scan again"),
}
_REFUSED: dict[int, tuple[str, str]] = {
    13: ("the user may not read it", "grant the role read on the database"),
    2: ("the server refused the filter, projection or pipeline", "try it in a shell first"),
    9: ("the server could not parse the filter or pipeline", "try it in a shell first"),
    14: ("the server refused a type in the filter, projection or pipeline", "try it in a shell first"),
    16410: ("the server refused a field path", "try the pipeline in a shell first"),
    168: ("the server does not know an operator of the pipeline", "try the pipeline in a shell first"),
    15959: ("the server refused a $match", "try the pipeline in a shell first"),
    31253: ("the server refused the projection", "try it in a shell first"),
    31254: ("the server refused the projection", "try it in a shell first"),
    31325: ("the server refused the projection", "try it in a shell first"),
    40323: ("the server refused a stage of the pipeline", "try the pipeline in a shell first"),
    40324: ("the pipeline has a stage that the server does not know", "try the pipeline in a shell first"),
    292: ("the query needs more memory than the server allows", "filter earlier, or index what is sorted by"),
}
_PARSING = (2, 9, 14, 168, 15959, 16410, 31253, 31254, 31325, 40323, 40324)
"""Codes of what the server finds while it reads the query: its text speaks of what was configured."""
_EXECUTION = re.compile(r"executor error|while executing", re.IGNORECASE)
"""What says that the same codes came later, from documents, whose values the text may quote."""
TEXT_CHARACTERS = 300
_TOO_OLD = {
    239: "the scan outlived the server's history window",
    246: "the server no longer has the snapshot",
    251: "the server ended the transaction in mid-scan",
    290: "the scan outlived the server's transaction lifetime",
    134: "the server no longer has the snapshot",
}


@contextmanager
def mapped(source: str, operation: str, *, configured: bool = True) -> Iterator[None]:
    """Turn what pymongo raises inside into errors that begin with `scan <source>: <operation>`.

    configured: what was sent is from the configuration alone, so that the server's text about it may be shown.
    """
    try:
        yield
    except (errors.PyMongoError, BSONError) as error:
        raise _error(f"scan {source}: {operation}", error, configured) from error


def _error(what: str, error: Exception, configured: bool) -> Exception:
    match error:
        case errors.InvalidURI() | errors.ConfigurationError():
            return ConfigError(f"{what}: {error}", hint="url: mongodb://host:27017/database")
        case errors.OperationFailure():
            return _of_server(what, error, configured)
        case errors.ServerSelectionTimeoutError():
            cause = str(error).partition(", Timeout:")[0].partition(" (configured timeouts")[0]
            hint = "is the server up, is the url right, does it speak TLS? (add ?tls=false where not)"
            return SourceUnavailableError(f"{what}: no server answered: {cause}", hint=hint)
        case errors.ConnectionFailure():
            cause = str(error).partition(" (configured timeouts")[0]
            return SourceUnavailableError(f"{what}: the connection was lost: {cause}", hint="scan again")
        case BSONError() if "recursion" in str(error):
            return RecordError(f"{what}: {too_deep().message}")
        case BSONError():
            return RecordError(f"{what}: a document that is no valid BSON", hint="repair the collection: validate()")
        case errors.InvalidOperation():
            return SourceUnavailableError(f"{what}: the connection was closed")
        case _:
            return SourceError(f"{what}: {type(error).__name__}: {error}")


def _of_server(what: str, error: errors.OperationFailure, configured: bool) -> SourceError:
    code = error.code or 0
    if code in _TOO_OLD:
        return SourceUnavailableError(
            f"{what}: {_TOO_OLD[code]}",
            hint="read less at a time (filter), or raise minSnapshotHistoryWindowInSeconds"
            " (transactionLifetimeLimitSeconds where a transaction is used) on the server",
        )
    if code in _UNAVAILABLE:
        cause, hint = _UNAVAILABLE[code]
        return SourceUnavailableError(f"{what}: {cause}", hint=hint)
    if code in _REFUSED:
        cause, hint = _REFUSED[code]
        return SourceError(f"{what}: {cause}{_text_of(code, error) if configured else ''}", hint=hint)
    # The server's own text may quote values of documents; the code's name does not.
    name = (error.details or {}).get("codeName") or "an error without name"
    if error.has_error_label("TransientTransactionError") or isinstance(error, errors.WTimeoutError):
        return SourceUnavailableError(f"{what}: the server answered {name} (code {code})", hint="scan again")
    return SourceError(f"{what}: the server answered {name} (code {code})", hint="see the server's log for this code")


def _text_of(code: int, error: errors.OperationFailure) -> str:
    """What the server says about a query that it cannot read; nothing where the text may quote a document."""
    text = " ".join(str((error.details or {}).get("errmsg") or "").split())
    if code not in _PARSING or not text or _EXECUTION.search(text):
        return ""
    return f": {text}" if len(text) <= TEXT_CHARACTERS else f": {text[:TEXT_CHARACTERS]}..."
