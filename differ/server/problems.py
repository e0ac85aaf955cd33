"""Errors as every call answers them: `{"error": {"code", "message", "hint", ...}}` with a status that fits.

A DifferError keeps its message and hint (both redacted); what clients act on is the code and the extra fields: `oldest`
and `source` of SCN_TOO_OLD, `head` of SCN_AHEAD. Whatever else goes wrong is INTERNAL, logged with its traceback, and
tells the client nothing.

Invariant: every answer with a status of 400 or above has this form, also those that the framework makes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from differ.errors import (
    BusyError,
    ConfigError,
    CorruptionError,
    DifferError,
    HeldError,
    NotKeptError,
    RelayError,
    SourceError,
    StorageError,
    UsageError,
    redact,
)

log = logging.getLogger(__name__)

CODES: tuple[tuple[type[DifferError], int, str], ...] = (
    (ConfigError, 500, "CONFIG"),
    (UsageError, 400, "BAD_REQUEST"),
    (NotKeptError, 410, "NOT_KEPT"),
    (HeldError, 409, "HELD"),
    (BusyError, 409, "BUSY"),
    (CorruptionError, 500, "CORRUPTION"),
    (StorageError, 503, "UNAVAILABLE"),
    (SourceError, 500, "SCAN_FAILED"),
)
"""Status and code of the errors that have none of their own."""
_HTTP_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "TOO_LARGE"}
_EXTRA = ("oldest", "head", "source")
RETRY_SECONDS = 1


class NotFoundError(RelayError):
    """There is no such source, schema, consumer or path."""

    code = "NOT_FOUND"
    status = 404


class TooLargeError(RelayError):
    """A request's body is larger than any call takes."""

    code = "TOO_LARGE"
    status = 413


class TooManyStreamsError(RelayError):
    """A token has as many calls for events under way as it may."""

    code = "TOO_MANY_STREAMS"
    status = 429


def status_and_code(error: DifferError) -> tuple[int, str]:
    """What HTTP says of an error."""
    if isinstance(error, RelayError):
        return error.status, error.code
    return next(((status, code) for kind, status, code in CODES if isinstance(error, kind)), (500, "INTERNAL"))


def problem(error: DifferError) -> JSONResponse:
    """The answer that tells an error."""
    status, code = status_and_code(error)
    extra = {name: value for name in _EXTRA if (value := getattr(error, name, None)) is not None}
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(RETRY_SECONDS)
    return _answer(status, code, error.message, error.hint, extra, headers)


def install(app: FastAPI) -> None:
    """Make the app answer every error in this form."""
    app.add_exception_handler(DifferError, _differ_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal)


async def _differ_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DifferError)  # noqa: S101
    answer = problem(error)
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return answer


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = error.errors()
    message = "; ".join(f"{_place(item['loc'])}: {item['msg']}" for item in errors[:10])
    return _answer(422, "INVALID", redact(message), "see /openapi.json or docs/http.md", {}, {})


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _HTTP_CODES.get(error.status_code, HTTPStatus(error.status_code).name)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _answer(error.status_code, code, message, "see docs/http.md for the calls there are", {}, error.headers)


async def _internal(request: Request, error: Exception) -> JSONResponse:
    hint = "the relay's log says more; ask again, and report it when it stays"
    return _answer(500, "INTERNAL", f"{request.method} {request.url.path}: {type(error).__name__}", hint, {}, {})


def _answer(
    status: int,
    code: str,
    message: str,
    hint: str | None,
    extra: Mapping[str, Any],
    headers: Mapping[str, str] | None,
) -> JSONResponse:
    body: dict[str, Any] = {"code": code, "message": message}
    if hint:
        body["hint"] = hint
    return JSONResponse({"error": body | dict(extra)}, status_code=status, headers=dict(headers or {}))


def _place(loc: Sequence[Any]) -> str:
    return ".".join(str(part) for part in loc[1:]) or str(loc[0])
