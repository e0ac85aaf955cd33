"""A sink as a module of the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from differ.config import Settings, SinkSettings

if TYPE_CHECKING:
    from differ.sinks.runner import SinkRunner


class SinkModule:
    """Runs one sink; each start makes a new runner, with nothing left of the one before."""

    def __init__(self, settings: Settings, sink: SinkSettings, out: TextIO | None = None) -> None:
        """out: where a sink that shows its changes writes them."""
        self._settings, self._sink, self._out = settings, sink, out
        self._runner: SinkRunner | None = None

    def start(self) -> None:
        """Begin to follow the relay. Raises ConfigError for options that are wrong; a server that is down is waited
        for."""
        from differ.sinks.runner import SinkRunner

        self._runner = SinkRunner(self._settings, self._sink, out=self._out)
        self._runner.start()

    def stop(self) -> None:
        """Write what was gathered, store the checkpoint, and end."""
        if self._runner is not None:
            self._runner.stop()
            self._runner = None

    def pause(self) -> None:
        """Take no more events; what was gathered is written."""
        if self._runner is not None:
            self._runner.pause()

    def resume(self) -> None:
        """Take events again."""
        if self._runner is not None:
            self._runner.resume()

    def failure(self) -> BaseException | None:
        """What ended the runner by itself."""
        return None if self._runner is None else self._runner.failure()

    def status(self) -> Mapping[str, Any]:
        """See `SinkStatus.to_json`."""
        return {} if self._runner is None else self._runner.status()


def follows_from(settings: Settings, name: str) -> tuple[Any, ...]:
    """Everything that a sink is made from: when it is equal, the sink need not start again."""
    relay = settings.relay
    tokens = (relay.tokens.read, relay.tokens.consume, relay.tokens.admin)
    return settings.sinks[name], relay.reach, tokens
