"""A project, a relay that serves it, and its sinks, run in this process."""

import uuid
from collections.abc import Callable
from typing import Any

from differ.config.settings import Settings
from differ.config.sink import SinkSettings
from differ.sinks.runner import SinkRunner
from tests.cycle.world import World
from tests.server.eventually import eventually
from tests.server.relay import Relay
from tests.sinks.memory import PLACES, Place

MEMORY = "tests.sinks.memory:Memory"
QUICK = {"first": "1ms", "longest": "5ms", "yield": "100ms"}


class Rig:
    """Sinks of the world's project; all runners are stopped at the end."""

    def __init__(self, world: World, serve: Callable[..., Relay]) -> None:
        self.world = world
        self.relay = serve()
        self.url = self.relay.url
        self.runners: list[SinkRunner] = []

    @property
    def settings(self) -> Settings:
        settings = self.world.project.settings
        return settings.model_copy(update={"relay": settings.relay.model_copy(update={"url": self.url})})

    def sink(self, name: str = "search", **settings: Any) -> SinkSettings:
        """The settings of a sink in memory, as scheduler.yaml would have them."""
        place = settings.pop("place", None) or str(uuid.uuid4())
        body = {"kind": MEMORY, "sources": ["orders"], "options": {"place": place}, "retries": QUICK, **settings}
        return SinkSettings.model_validate(body, by_alias=True).model_copy(update={"name": name})

    def place(self, sink: SinkSettings) -> Place:
        return PLACES.setdefault(sink.options["place"], Place())

    def settings_with(self, sink: SinkSettings) -> Settings:
        return self.settings.model_copy(update={"sinks": {sink.name: sink}})

    def start(self, sink: SinkSettings, **options: Any) -> SinkRunner:
        runner = SinkRunner(self.settings_with(sink), sink, **options)
        self.runners.append(runner)
        runner.start()
        return runner

    def until_head(self, runner: SinkRunner) -> None:
        """Wait until the sink's checkpoint is at the head."""
        head = self.world.project.catalog.stream().head_scn

        def there() -> bool:
            assert runner.failure() is None, runner.failure()
            status = runner.status()
            return not status["bootstrapping"] and status["scn"] == head

        eventually(there)

    def close(self) -> None:
        for runner in self.runners:
            runner.stop()
