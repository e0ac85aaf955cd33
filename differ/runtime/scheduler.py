"""The scheduler as a module of the runtime; and how it takes another configuration while cycles run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from differ.config import Settings
from differ.schedule import Scheduler


class SchedulerModule:
    """A scheduler does not start twice, so each start makes one. make: how, from the settings of the moment."""

    def __init__(self, settings: Settings, make: Callable[[Settings], Scheduler] = Scheduler) -> None:
        self._settings, self._make = settings, make
        self._scheduler: Scheduler | None = None

    def start(self) -> None:
        """Begin to schedule."""
        self._scheduler = self._make(self._settings)
        self._scheduler.start()

    def stop(self) -> None:
        """Start no cycle any more, and let running ones roll back."""
        if self._scheduler is not None:
            self._scheduler.stop()
            self._scheduler = None

    def pause(self) -> None:
        """Start no cycle; running ones end by themselves."""
        if self._scheduler is not None:
            self._scheduler.pause()

    def resume(self) -> None:
        """Go on with the schedule; turns that were missed are made up for once."""
        if self._scheduler is not None:
            self._scheduler.resume()

    def reload(self, settings: Settings) -> None:
        """Schedule what these settings say from now on; running cycles go on, unchanged schedules keep their turns."""
        self._settings = settings
        if self._scheduler is not None:
            self._scheduler.reload(settings)

    def failure(self) -> BaseException | None:
        """None: turns that fail are told one by one, and the next one comes."""
        return None

    def status(self) -> Mapping[str, Any]:
        """jobs: how many sources and groups have a schedule; running: how many cycles run now."""
        return {} if self._scheduler is None else self._scheduler.status()
