"""One scan in a process of its own: started, read, waited for, ended by force when it must be, and told in the log.

Invariant: when `finish` returns, neither the child nor what it left in its session runs.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from differ.errors import redact

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "differ")
"""-P: a folder called `differ` beside the user must not be imported in our place."""
LEFT_BEHIND_SECONDS = 2.0
LINE_BYTES_MAX = 16 * 1024
_OUTCOMES = {
    0: (logging.INFO, "finished"),
    1: (logging.ERROR, "crashed"),  # Python's own code; nobody asked for --fail-if-changed
    2: (logging.ERROR, "refused: usage or configuration"),
    3: (logging.ERROR, "failed"),
    4: (logging.WARNING, "is held by a guard; see 'differ status'"),
    5: (logging.ERROR, "found corruption; run 'differ check'"),
    6: (logging.INFO, "skipped: another writer holds the source"),
    130: (logging.WARNING, "was interrupted"),
}


class Child:
    """One running `differ scan`, the leader of a session of its own."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        logger.info("scan %s: started, process %d", name, self._process.pid)
        pipes = (self._process.stdout, self._process.stderr)
        self._readers = [self._read(pipe) for pipe in pipes if pipe is not None]

    def finish(self, timeout_seconds: float | None, grace_seconds: float) -> None:
        """Wait for the end, past timeout and grace bring it about, and log how it was."""
        limit = None if timeout_seconds is None else timeout_seconds + grace_seconds
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            logger.error("scan %s: still running %.0f s after its timeout; ending it", self._name, grace_seconds)
            self.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        code = self._process.wait()
        self._read_to_the_end()
        self._log_end(code)

    def terminate(self) -> None:
        """Ask the child to end; it rolls its cycle back."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child and whatever it started, at once; its cycle is as if it had never been."""
        if self._process.poll() is None:
            logger.error("scan %s: does not end, killing it", self._name)
            self._kill_session()

    def _read(self, pipe: IO[bytes]) -> threading.Thread:
        """Log a pipe's lines in a thread, redacted, so that a child never waits for us to read."""

        def log_lines() -> None:
            with pipe:
                while line := pipe.readline(LINE_BYTES_MAX):
                    text = redact(line.decode("utf-8", "replace").rstrip())
                    if (told := _told(text)) is not None:
                        level = logging.ERROR if told.startswith("error: ") else logging.INFO
                        logger.log(level, "%s: %s", self._name, told)

        thread = threading.Thread(target=log_lines, name=f"log of {self._name}", daemon=True)
        thread.start()
        return thread

    def _read_to_the_end(self) -> None:
        """What the child left running in its session may hold the pipes open for ever; then it is ended as well."""
        deadline = time.monotonic() + LEFT_BEHIND_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        if any(reader.is_alive() for reader in self._readers):
            logger.warning("scan %s: ended, but left processes behind; killing them", self._name)
            self._kill_session()

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _log_end(self, code: int) -> None:
        seconds = time.monotonic() - self._started
        if code in (-signal.SIGTERM, -signal.SIGINT):
            level, outcome = _OUTCOMES[130]
        elif code < 0:
            level, outcome = logging.ERROR, f"died of {_signal_name(-code)}"
        else:
            level, outcome = _OUTCOMES.get(code, (logging.ERROR, f"ended with the unknown exit code {code}"))
        logger.log(level, "scan %s: %s after %.1f s", self._name, outcome, seconds)


def _told(line: str) -> str | None:
    """A child's line as a person reads it; None for the JSON of an error, which stderr tells in words."""
    try:
        body = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return line
    if not isinstance(body, dict):
        return line
    if set(body) == {"error"}:
        return None
    if not {"source", "cycle", "status", "rows"} <= set(body):
        return line
    told = f"{body['source']} cycle {body['cycle']} {body['status']}"
    if body["rows"] is not None:
        told += f", {body['rows']} rows +{body.get('inserts')} ~{body.get('updates')} -{body.get('deletes')}"
    if body.get("scn_first") is not None:
        told += f", SCN {body['scn_first']}..{body['scn_last']}"
    notes = [*(body.get("schema_changes") or ()), *filter(None, [body.get("reason"), body.get("error")])]
    return "; ".join([told, *map(str, notes)])


def _signal_name(number: int) -> str:
    names = {item.value: item.name for item in signal.Signals}
    return names.get(number, f"signal {number}")
