"""Projects and relays as in the tests of the server, and certificates."""

import pytest

from tests.cycle.conftest import world
from tests.security.certificates import Certificates, make_certificates
from tests.server.conftest import relay, serve

__all__ = ["relay", "serve", "world"]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of relay.example.net."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), "relay.example.net")
