"""From settings to the modules of one process, and from other settings to what has to change among them.

    scheduler          cycles by schedule                    goes on through a reload; running cycles are not touched
    relay, bootstrap   one HTTP server (see face)            goes on; a changed port is opened in place of the old one
    sinks.NAME         one destination each                  only those that changed are started again
    Graphite           no module: measures sent now and then

Invariant: a configuration that is wrong, or that this process cannot run with, changes nothing and is told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from differ.config import Settings, load
from differ.config.changes import SettingChange, changes
from differ.errors import DifferError, UsageError
from differ.runtime.control import control_folder
from differ.runtime.everywhere import Everywhere
from differ.runtime.face import FACES, Face, FaceModule, Name
from differ.runtime.graphite import Graphite
from differ.runtime.host import Runtime
from differ.runtime.module import Module
from differ.runtime.scheduler import SchedulerModule
from differ.runtime.sink import SinkModule, follows_from
from differ.schedule import jobs
from differ.server.metrics import Metrics

log = logging.getLogger("differ.runtime")
MODULES = ("scheduler", "relay", "bootstrap", "sinks")
NEED_A_NEW_PROCESS = ("storage",)
"""Sections that are in use from the first moment on."""


class Hosting:
    """One process of `differ run`. only: which of MODULES it hosts. Raises UsageError where that leaves nothing."""

    def __init__(self, settings: Settings, only: Sequence[str] = MODULES, *, out: TextIO | None = None) -> None:
        """out: where sinks of kind `console` write."""
        self._settings, self._out = settings, out
        self._only = tuple(only)
        self._turn = threading.Lock()
        self._metrics = Metrics()
        self._folder = control_folder(settings.storage.state)
        self._everywhere = Everywhere(lambda: self.runtime, self._folder)
        names: tuple[Name, ...] = tuple(name for name in FACES if name in self._only)
        self._face = Face(settings, names, self._everywhere, self._metrics) if names else None
        self._scheduler = SchedulerModule(settings) if "scheduler" in self._only else None
        self._graphite: Graphite | None = None
        check(settings, self._only)
        if self._face is not None:
            self._face.check(settings)
        self.runtime = Runtime(self._modules(names))

    def run(self) -> None:
        """Run until SIGTERM or Ctrl-C; for the main thread only. SIGHUP reads the configuration again."""
        self._measure()
        try:
            self.runtime.run_forever(self._folder, self.reload)
        finally:
            if self._graphite is not None:
                self._graphite.stop()

    def reload(self) -> None:
        """Read scheduler.yaml again and apply what became different; what is wrong is logged, and nothing changes."""
        try:
            self._apply(load(self._settings.project))
        except DifferError as error:
            log.error("configuration: nothing was changed: %s", error)

    def _apply(self, new: Settings) -> None:
        with self._turn:
            old = self._settings
            found = changes(old, new)
            if not found:
                log.info("configuration: read again, nothing changed")
                return
            check(new, self._only)
            if self._face is not None:
                self._face.check(new)
            late = [change for change in found if change.path[0] in NEED_A_NEW_PROCESS]
            new = new.model_copy(update={section: getattr(old, section) for section in NEED_A_NEW_PROCESS})
            self._settings = new
            for change in found:
                log.info("configuration: %s%s", change.text, "; wants a new 'differ run'" if change in late else "")
            self._take_over(old, new, found)
            done = len(found) - len(late)
            log.info("configuration: read again, %d of %d changes are in effect", done, len(found))

    def _take_over(self, old: Settings, new: Settings, found: list[SettingChange]) -> None:
        steps: list[Callable[[], None]] = []
        if self._scheduler is not None:
            scheduler = self._scheduler
            steps.append(lambda: scheduler.reload(new))
        if self._face is not None:
            face = self._face
            steps.append(lambda: face.reload(new))
        if "sinks" in self._only:
            steps.append(lambda: self._reload_sinks(old, new))
        if any(change.path[0] == "metrics" for change in found):
            steps.append(self._measure)
        for step in steps:
            try:
                step()
            except Exception as error:  # the other parts take the new settings all the same
                log.error("configuration: %s", error if isinstance(error, DifferError) else repr(error))

    def _reload_sinks(self, old: Settings, new: Settings) -> None:
        for name in old.sinks.keys() - new.sinks.keys():
            self.runtime.remove(f"sinks.{name}")
            log.info("module sinks.%s: removed", name)
        for name, sink in new.sinks.items():
            if name not in old.sinks or follows_from(old, name) != follows_from(new, name):
                self.runtime.add(f"sinks.{name}", SinkModule(new, sink, self._out))

    def _modules(self, names: Sequence[Name]) -> dict[str, Module]:
        found: dict[str, Module] = {}
        if self._scheduler is not None:
            found["scheduler"] = self._scheduler
        if self._face is not None:
            found |= {name: FaceModule(self._face, name) for name in names}
        if "sinks" in self._only:
            for name, sink in self._settings.sinks.items():
                found[f"sinks.{name}"] = SinkModule(self._settings, sink, self._out)
        return found

    def _measure(self) -> None:
        """Send measures to Graphite from now on, where that is configured and this process has some to send."""
        if self._graphite is not None:
            self._graphite.stop()
            self._graphite = None
        if self._settings.metrics.graphite and {"relay", "scheduler"} & set(self._only):
            self._graphite = Graphite(self._settings, self._metrics, self._everywhere.describe)
            self._graphite.start()


def check(settings: Settings, only: Sequence[str]) -> None:
    """Raise UsageError where these modules would have nothing to do at all."""
    work: dict[str, Any] = {
        "scheduler": jobs(settings),
        "relay": True,
        "bootstrap": True,
        "sinks": settings.sinks,
    }
    if "sinks" in only and settings.sinks and settings.relay.reach.endswith(":0"):
        raise UsageError(
            f"run: relay.listen is {settings.relay.listen}, so sinks cannot know where the relay is",
            hint="give it a port, or set relay.url",
        )
    if any(work[name] for name in only):
        return
    hints = {
        "scheduler": "give a source a schedule, such as 'schedule: {every: 5m}'",
        "sinks": "add one below 'sinks:'",
    }
    missing = {"scheduler": "no source or consistency group has a schedule", "sinks": "no sink is configured"}
    raise UsageError(
        f"run: {', and '.join(missing[name] for name in only)}",
        hint=f"in scheduler.yaml: {'; or '.join(hints[name] for name in only)}",
    )
