"""Measures sent to a Graphite server now and then, for those who do not scrape `/metrics`.

A server that cannot be reached is told once, and once more when it is back; nothing is kept for it meanwhile.
Names are `<prefix>.<metric>.<label>.<value>...`, as Prometheus' own client writes them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from differ.config import Settings
from differ.errors import DifferError
from differ.project import Project
from differ.server.metrics import Metrics, ProjectCollector

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10.0


class Graphite:
    """Sends from `start` to `stop`, in a thread. modules: tells the entries of all modules."""

    def __init__(
        self, settings: Settings, metrics: Metrics, modules: Callable[[], Sequence[Mapping[str, Any]]]
    ) -> None:
        self._settings, self._metrics, self._modules = settings, metrics, modules
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="differ-graphite", daemon=True)
        self._is_down = False

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; idempotent. A sending that hangs is left behind and ends by its timeout."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        with Project(self._settings) as project:
            while True:
                self._send(project)
                if self._ending.wait(self._settings.metrics.every_seconds):
                    return

    def _send(self, project: Project) -> None:
        from prometheus_client.bridge.graphite import GraphiteBridge

        address = self._settings.metrics.graphite or ""
        host, _, port = address.rpartition(":")
        try:
            collector = ProjectCollector(project, self._metrics, self._modules(), None)
            bridge = GraphiteBridge((host.strip("[]"), int(port)), collector, TIMEOUT_SECONDS)
            bridge.push(self._settings.metrics.prefix)
        except (OSError, DifferError) as error:
            if not self._is_down:
                log.error("metrics: not sent to Graphite at %s: %s", address, error)
            self._is_down = True
            return
        if self._is_down:
            log.info("metrics: sent to Graphite at %s again", address)
        self._is_down = False
