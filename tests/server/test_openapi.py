"""The description at /openapi.json, and a fuzzer that holds every call to it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from differ.errors import UsageError
from tests.cycle.world import World, numbered
from tests.server.relay import Relay

EXAMPLES = 25
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
)
CONTRACT = {
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/openapi.json": {"get"},
    "/v1/sources": {"get"},
    "/v1/sources/{source}": {"get"},
    "/v1/schemas/{schema_id}": {"get"},
    "/v1/stream": {"get"},
    "/v1/consumers": {"get"},
    "/v1/consumers/{name}": {"get", "put", "delete"},
    "/v1/consumer-groups/{name}/join": {"post"},
    "/v1/consumer-groups/{name}/heartbeat": {"post"},
    "/v1/consumer-groups/{name}/leave": {"post"},
    "/v1/bootstrap": {"post"},
    "/v1/bootstrap/{pin}": {"get", "delete"},
    "/v1/bootstrap/{pin}/{source}": {"get"},
    "/metrics": {"get"},
    "/v1/sources/{source}/scan": {"post"},
    "/v1/sources/{source}/pause": {"post"},
    "/v1/sources/{source}/resume": {"post"},
    "/v1/sources/{source}/approve": {"post"},
    "/v1/sources/{source}/reject": {"post"},
}


class NoModules:
    """A runtime that hosts nothing."""

    def describe(self) -> list[dict[str, Any]]:
        return []

    def act(self, action: str, name: str) -> list[dict[str, Any]]:
        raise UsageError(f"{action} module {name!r}: it does not run here", hint="here: nothing")


@pytest.fixture
def filled(world: World, serve: Callable[..., Relay]) -> Relay:
    for source in ("orders", "parts"):
        world.fed(source, numbered("x", "y"))
        world.commit(source)
    return serve(modules=NoModules())


def operations(relay: Relay) -> Iterator[Any]:
    document = relay.get("/openapi.json").json
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        yield found.ok()


def test_every_call_of_the_contract_is_described(filled: Relay) -> None:
    document = filled.get("/openapi.json").json
    for path, methods in CONTRACT.items():
        assert methods <= document["paths"][path].keys(), path
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            assert call["summary"], (method, path)
            health = path in ("/healthz", "/readyz")
            assert bool(call.get("security")) is not health, (method, path)
            for status in ("400", "401", "403", "422", "503"):
                schema = call["responses"][status]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (method, path, status)


def test_the_headers_of_events_are_described(filled: Relay) -> None:
    """So that the fuzzer misses one that is not sent, and generated clients know them."""
    paths = filled.get("/openapi.json").json["paths"]
    pin = filled.call("POST", "/v1/bootstrap", {"consumer": "index"}).json["id"]
    for path, call in (("/v1/stream", "/v1/stream"), ("/v1/bootstrap/{pin}/{source}", f"/v1/bootstrap/{pin}/orders")):
        described = paths[path]["get"]["responses"]["200"]["headers"]
        sent = {name for name in filled.get(call).headers if name.lower().startswith("differ-")}
        assert {name.lower() for name in described} == {name.lower() for name in sent}
        assert all(header["required"] for header in described.values())


@pytest.mark.timeout(300)
def test_whatever_is_sent_every_call_keeps_to_its_description(filled: Relay) -> None:
    tried = 0
    for operation in operations(filled):

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case: Any) -> None:
            nonlocal tried
            tried += 1
            if case.query:
                case.query.pop("wait", None)
            case.call_and_validate(base_url=filled.url, checks=list(CHECKS))

        send()
    assert tried > EXAMPLES
    assert filled.stream().scns == [1, 2, 3, 4]
