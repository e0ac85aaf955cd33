"""What the calls of one server share: the project, the head's watcher, the pool that reads, who may do what.

Made once for a server and handed to every `router(services)`. Invariant: nothing here belongs to a client, so its size
does not grow with them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ParamSpec, Protocol, TypeVar

from differ.errors import RelayUnavailableError
from differ.project import Project
from differ.relay.parts import SegmentReader
from differ.relay.watcher import HeadWatcher
from differ.server.access import Access
from differ.server.arrivals import Arrivals
from differ.server.scans import Scans

P = ParamSpec("P")
T = TypeVar("T")
READERS = max(4, os.cpu_count() or 1)
"""Threads that plan answers and read segments, for all clients together."""


class ModuleControl(Protocol):
    """The runtime's modules, as the server sees them."""

    def describe(self) -> Sequence[Mapping[str, Any]]:
        """One entry a module."""

    def act(self, action: str, name: str) -> Sequence[Mapping[str, Any]]:
        """Start, stop, restart, pause or resume one, or all `sinks`; what they are then.

        Raises UsageError for what makes no sense. An entry with `pending` is still to become what was asked for.
        """


class Measures(Protocol):
    """Where calls are counted."""

    def answered(self, call: str, status: int, seconds: float) -> None:
        """A call of this route (`GET /v1/stream`) ended."""

    def sent(self, form: str, byte_count: int) -> None:
        """So many bytes of a body of events went to a client."""


def hosts_all(module: str) -> bool:
    """Every module is on here."""
    return bool(module)


@dataclass(frozen=True, kw_only=True)
class Services:
    """See the module. hosted: whether 'relay' or 'bootstrap' is on in this process; modules, measures: None where
    nobody offers them."""

    project: Project
    watcher: HeadWatcher
    access: Access
    hosted: Callable[[str], bool] = hosts_all
    modules: ModuleControl | None = None
    measures: Measures | None = None
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(READERS, thread_name_prefix="differ-read")
    )

    @classmethod
    def of(cls, project: Project, watcher: HeadWatcher, listen: str, **more: Any) -> Services:
        """The services of a server that listens at host:port. Raises ConfigError where it would need tokens."""
        return cls(project=project, watcher=watcher, access=Access(project.settings, listen), **more)

    @cached_property
    def parts(self) -> SegmentReader:
        """Reads segments, with one cache for all."""
        return SegmentReader(self.project.catalog, self.project.place.state)

    @cached_property
    def arrivals(self) -> Arrivals:
        """Wakes the calls that wait for the head to move."""
        return Arrivals(self.watcher)

    @cached_property
    def scans(self) -> Scans:
        """Runs the scans that calls ask for."""
        return Scans(self.project.settings)

    async def read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what reads disk or catalog in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, partial(call, *args, **kwargs))

    def check_ready(self) -> None:
        """Raise RelayUnavailableError or the watcher's error when the server cannot answer for the stream now."""
        if self.arrivals.is_closed:
            raise RelayUnavailableError("the relay is stopping", hint="ask again in a moment")
        if self.watcher.error is not None:
            raise self.watcher.error

    def check_hosted(self, module: str) -> None:
        """Raise RelayUnavailableError when the module is not on in this process, or as `check_ready`."""
        self.check_ready()
        if not self.hosted(module):
            raise RelayUnavailableError(
                f"the {module} is not on in this process", hint=f"see 'differ modules list'; start {module} there"
            )

    def stop_soon(self) -> None:
        """End every wait and every scan that a call asked for; from now on nothing waits. Idempotent."""
        self.arrivals.close()
        self.scans.stop()

    def close(self) -> None:
        """Let go of the pool, after `stop_soon`; idempotent."""
        self.stop_soon()
        self.pool.shutdown(wait=False, cancel_futures=True)
