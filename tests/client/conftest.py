"""A project, and relays that serve it on real ports."""

from tests.cycle.conftest import world
from tests.server.conftest import relay, serve

__all__ = ["relay", "serve", "world"]
