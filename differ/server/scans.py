"""Scans that HTTP asks for: each a child process `differ scan`, as the scheduler runs them.

A plugin that hangs, leaks or dies takes only its child down. Invariants: no more children at once than the executor has
workers; a child ends with this process, and with `stop` at the latest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Any

from differ.config import Settings
from differ.errors import BusyError, RelayUnavailableError, SourceError, redact
from differ.schedule import COMMAND

log = logging.getLogger(__name__)

LINE_BYTES_MAX = 1 << 20


class Scans:
    """Runs scans for one project, from one event loop, until `stop`."""

    def __init__(self, settings: Settings) -> None:
        workers = settings.executor.workers
        self._project = str(settings.project)
        self._places = (os.cpu_count() or 1) if workers == "auto" else workers
        self._children: dict[Process, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    async def run(self, source: str) -> dict[str, Any]:
        """Run one cycle of a source and return its result line.

        Raises BusyError where somebody scans the source already, or all places are taken; SourceError for a child that
        ended without a result; RelayUnavailableError when it was ended by `stop`.
        """
        self._loop = asyncio.get_running_loop()
        if self._stopped:
            raise _stopping(source)
        if len(self._children) >= self._places:
            raise BusyError(f"scan {source}: {self._places} scans run already", hint="ask again when one is done")
        command = (*COMMAND, "scan", "--source", source, "--json", "--project", self._project)
        process = await asyncio.create_subprocess_exec(
            *command,
            "--with-parent",
            str(os.getpid()),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )
        self._children[process] = source
        try:
            lines, _ = await asyncio.gather(_result_lines(process), _log_lines(process, source))
            code = await process.wait()
        finally:
            del self._children[process]
            if process.returncode is None:  # this call was cancelled
                _kill(process)
        return self._result(source, lines, code)

    def stop(self) -> None:
        """Pass SIGTERM to the children; they roll their cycles back. May be called from any thread; idempotent."""
        self._stopped = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop ended, and with it every child
                self._loop.call_soon_threadsafe(self._terminate)

    def _terminate(self) -> None:
        for process, source in self._children.items():
            log.info("scan %s: stopping process %d", source, process.pid)
            with suppress(ProcessLookupError):
                process.terminate()

    def _result(self, source: str, lines: list[dict[str, Any]], code: int) -> dict[str, Any]:
        result = next((line for line in lines if line["source"] == source), None)
        if self._stopped and result is None:
            raise _stopping(source)
        if result is None:
            how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise SourceError(f"scan {source}: its process {how}, without a result", hint="the relay's log says more")
        if result["status"] == "busy":
            raise BusyError(f"scan {source}: {result.get('error', 'it is being scanned')}", hint=result.get("hint"))
        return result


async def _result_lines(process: Process) -> list[dict[str, Any]]:
    """The result lines; what a plugin wrote to stdout itself is none."""
    assert process.stdout is not None  # noqa: S101
    found = []
    async for line in process.stdout:
        with suppress(ValueError):
            body = json.loads(line)
            if isinstance(body, dict) and {"source", "status"} <= body.keys():
                found.append(body)
    return found


async def _log_lines(process: Process, source: str) -> None:
    assert process.stderr is not None  # noqa: S101
    async for line in process.stderr:
        log.info("%s: %s", source, redact(line.decode("utf-8", "replace").rstrip()))


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _stopping(source: str) -> RelayUnavailableError:
    return RelayUnavailableError(f"scan {source}: the server is stopping; nothing of it was committed")
