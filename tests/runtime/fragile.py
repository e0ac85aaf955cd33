"""A module that fails when it is told to, and a clock that stands still."""

from typing import Any


class Clock:
    """Seconds that somebody else moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fragile:
    """`failing`: what a call raises, by its name; `ended`: what it died of by itself; `calls`: what it was told."""

    def __init__(self, **failing: Exception) -> None:
        self.failing = failing
        self.ended: Exception | None = None
        self.calls: list[str] = []

    def start(self) -> None:
        self._called("start")

    def stop(self) -> None:
        self._called("stop")

    def pause(self) -> None:
        self._called("pause")

    def resume(self) -> None:
        self._called("resume")

    def failure(self) -> Exception | None:
        return self.ended

    def status(self) -> dict[str, Any]:
        if "status" in self.failing:
            raise self.failing["status"]
        return {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]
