"""Logs on stderr: one line an event, as text or JSON, redacted; tracebacks only with -vv.

What a cycle came to is told by the command itself, so the cycle's own lines are shown from -v on.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from differ.errors import redact

TOLD_BY_COMMANDS = ("differ.cycle.procedure", "differ.cycle.place", "differ.executors", "py.warnings")


class StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the moment, so that a progress display can take it over."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a broken stderr is nobody's business."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Keep quiet: there is no other place to complain."""


class TextFormatter(logging.Formatter):
    """`2026-11-23 10:05:00 INFO differ.cycle: ...`, redacted."""

    def __init__(self, *, with_traceback: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
        self._with_traceback = with_traceback

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more where a traceback was asked for."""
        shown = record if self._with_traceback else _without_traceback(record)
        return redact(super().format(shown))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, redacted: time (UTC), level, logger, message, traceback."""

    def __init__(self, *, with_traceback: bool) -> None:
        super().__init__()
        self._with_traceback = with_traceback

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        body: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info and self._with_traceback:
            body["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(body)


def start_logging(verbosity: int, form: str, *, chatty: bool) -> None:
    """Send logs to stderr. verbosity: -1 errors, 0 warnings (chatty: as 1), 1 what is done, 2 everything."""
    level = verbosity + 1 if chatty and verbosity == 0 else verbosity
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, StderrHandler)]:
        root.removeHandler(old)
    handler = StderrHandler()
    make = JsonFormatter if form == "json" else TextFormatter
    handler.setFormatter(make(with_traceback=level >= 2))
    root.addHandler(handler)
    root.setLevel({-1: logging.ERROR, 0: logging.WARNING, 1: logging.WARNING}.get(level, logging.INFO))
    logging.getLogger("differ").setLevel({1: logging.INFO}.get(level, logging.DEBUG if level > 1 else logging.NOTSET))
    for name in TOLD_BY_COMMANDS:
        quiet = level <= 0
        logging.getLogger(name).setLevel(logging.CRITICAL if quiet else logging.NOTSET)
    # The schedule says itself, in its own words, which turns it skips.
    for name in ("apscheduler", "elastic_transport"):  # What they warn of, differ tells in its own words.
        logging.getLogger(name).setLevel(logging.NOTSET if level > 1 else logging.ERROR)
    logging.captureWarnings(True)


def _without_traceback(record: logging.LogRecord) -> logging.LogRecord:
    if not record.exc_info and not record.exc_text:
        return record
    plain = logging.makeLogRecord(record.__dict__)
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        plain.msg, plain.args = f"{record.getMessage()}: {type(error).__name__}: {error}", ()
    plain.exc_info = plain.exc_text = None
    return plain
