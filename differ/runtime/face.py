"""Relay and bootstrap as modules: two names for one HTTP server, at the relay's port where both are in one process.

The server listens while at least one of the two is started; a call for the one that is stopped or paused is answered
with 503 and a hint. What the catalog, the watcher and the server hold is made anew at each start, so that a restart
heals whatever went wrong with them.

Invariant: the port is open exactly while a module of this face is running or paused.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from differ.config import Settings
from differ.project import Project

if TYPE_CHECKING:
    from differ.relay.watcher import HeadWatcher
    from differ.server.metrics import Metrics
    from differ.server.services import ModuleControl, Services
    from differ.server.serving import Serving

Name = Literal["relay", "bootstrap"]
FACES: tuple[Name, ...] = ("relay", "bootstrap")


@dataclass(frozen=True)
class _Open:
    """What one start made."""

    project: Project
    watcher: HeadWatcher
    services: Services
    serving: Serving

    def close(self) -> None:
        self.serving.stop()
        self.watcher.stop()
        self.project.close()


class Face:
    """The HTTP server of a process. names: what is hosted here; `control` and `metrics` are given to the server."""

    def __init__(self, settings: Settings, names: tuple[Name, ...], control: ModuleControl, metrics: Metrics) -> None:
        self._settings = settings
        self._names = names
        self._control, self._metrics = control, metrics
        self._turn = threading.RLock()  # guards the three below
        self._started: set[Name] = set()
        self._on: set[Name] = set()
        self._open: _Open | None = None
        self._failure: BaseException | None = None

    @property
    def listen(self) -> str:
        """Where the server listens: at the relay's port where the relay is hosted, else at bootstrap's own."""
        return _listen(self._settings, self._names)

    def start(self, name: Name) -> None:
        """Let the server answer for a module; opens the port for the first one."""
        with self._turn:
            if self.failure() is not None:
                self._end()
            if self._open is None:
                self._begin()
            self._started.add(name)
            self._on.add(name)

    def stop(self, name: Name) -> None:
        """Answer for a module no more; the last one closes the port. Idempotent."""
        with self._turn:
            self._on.discard(name)
            self._started.discard(name)
            if not self._started:
                self._end()

    def pause(self, name: Name) -> None:
        """Refuse new calls for a module; those under way end by themselves."""
        self._on.discard(name)

    def resume(self, name: Name) -> None:
        """Answer again."""
        self._on.add(name)

    def check(self, settings: Settings) -> None:
        """Raise ConfigError for settings that this server could not run with."""
        from differ.server.access import Access

        Access(settings, _listen(settings, self._names))

    def reload(self, settings: Settings) -> None:
        """Go on with other settings; only another port or certificate interrupts whoever is connected."""
        with self._turn:
            moves = self.listen != _listen(settings, self._names) or self._settings.relay.tls != settings.relay.tls
            self._settings = settings
            if self._open is None:
                return
            self._open.project.reload(settings)
            self._open.services.access.reload(settings)
            if moves:
                self._end()
                try:
                    self._begin()
                except Exception as error:
                    self._failure = error  # the modules notice, and are started again
                    raise

    def failure(self) -> BaseException | None:
        """What ended the server or its watcher by itself, or None."""
        if self._failure is not None or self._open is None:
            return self._failure
        if self._open.serving.failure is not None:
            return self._open.serving.failure
        return self._open.watcher.error if self._open.watcher.is_over else None

    def status(self) -> Mapping[str, Any]:
        """url, head SCN, waiting: calls that wait for the head to move."""
        opened = self._open
        if opened is None:
            return {}
        return {
            "url": opened.serving.url,
            "head_scn": opened.watcher.head,
            "waiting": opened.services.arrivals.waiting,
        }

    def _begin(self) -> None:
        from differ.relay.watcher import HeadWatcher
        from differ.server.app import build_app
        from differ.server.services import Services
        from differ.server.serving import Serving

        project = Project(self._settings)
        watcher = HeadWatcher(project.catalog)
        try:
            services = Services.of(
                project,
                watcher,
                self.listen,
                hosted=lambda module: module in self._on,
                modules=self._control,
                measures=self._metrics,
            )
            watcher.start()
            serving = Serving(build_app(services), self.listen, self._settings.relay.tls)
            serving.start()
        except BaseException:
            watcher.stop()
            project.close()
            raise
        self._failure = None
        self._open = _Open(project, watcher, services, serving)

    def _end(self) -> None:
        opened, self._open, self._failure = self._open, None, None
        if opened is not None:
            opened.close()


class FaceModule:
    """One of the two, as the runtime sees it."""

    def __init__(self, face: Face, name: Name) -> None:
        self.face, self._name = face, name

    def start(self) -> None:
        """Answer calls."""
        self.face.start(self._name)

    def stop(self) -> None:
        """Answer none; waiting calls end with what there is."""
        self.face.stop(self._name)

    def pause(self) -> None:
        """Refuse new calls."""
        self.face.pause(self._name)

    def resume(self) -> None:
        """Answer new calls again."""
        self.face.resume(self._name)

    def failure(self) -> BaseException | None:
        """What ended the server by itself."""
        return self.face.failure()

    def status(self) -> Mapping[str, Any]:
        """See `Face.status`."""
        return self.face.status()


def _listen(settings: Settings, names: tuple[Name, ...]) -> str:
    return settings.relay.listen if "relay" in names else settings.bootstrap.listen
