"""Who may do what: tokens by right, and a relay without tokens is no gate for web pages."""

from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import Any

import pytest

from differ.config import Settings
from differ.errors import ConfigError
from differ.server.access import Access
from tests.cycle.world import World
from tests.server.relay import Relay

TOKENS = {"read": "read-token", "consume": "consume-token", "admin": "admin-token"}
CALLS = (
    ("read", "GET", "/v1/stream"),
    ("read", "GET", "/v1/sources"),
    ("read", "GET", "/v1/sources/a"),
    ("read", "GET", "/v1/schemas/1"),
    ("read", "GET", "/openapi.json"),
    ("consume", "GET", "/v1/consumers"),
    ("consume", "GET", "/v1/consumers/index"),
    ("consume", "PUT", "/v1/consumers/index"),
    ("consume", "DELETE", "/v1/consumers/index"),
    ("consume", "POST", "/v1/consumer-groups/index/join"),
    ("consume", "POST", "/v1/bootstrap"),
    ("admin", "POST", "/v1/sources/a/scan"),
    ("admin", "POST", "/v1/sources/a/pause"),
    ("admin", "POST", "/v1/sources/a/resume"),
    ("admin", "POST", "/v1/sources/a/approve"),
    ("admin", "POST", "/v1/sources/a/reject"),
)
ORDER = list(TOKENS)
ELSEWHERE = ["0.0.0.0:7070", "[::]:7070", "192.168.1.2:7070", "relay.example.com:7070"]


@pytest.fixture
def guarded(world: World, serve: Callable[..., Relay]) -> Relay:
    """A relay with a token for each right."""
    world.settings["relay"] = {"tokens": TOKENS}
    world.close()
    return serve()


@pytest.mark.parametrize(("right", "method", "path"), CALLS)
def test_each_call_needs_its_right_or_a_higher_one(guarded: Relay, right: str, method: str, path: str) -> None:
    body = {} if method in ("PUT", "POST") else None
    for token in (None, "", "wrong", "read-toke", "read-token2", TOKENS[right] + "\u00e9"):
        reply = guarded.call(method, path, body, token=token)
        assert (reply.status, reply.error["code"]) == (401, "UNAUTHORIZED"), token
        assert reply.headers["www-authenticate"] == "Bearer"
        assert not token or token not in reply.body.decode()
    for holder in ORDER:
        reply = guarded.call(method, path, body, token=TOKENS[holder])
        if ORDER.index(holder) < ORDER.index(right):
            assert (reply.status, reply.error["code"]) == (403, "FORBIDDEN")
        else:
            assert reply.status not in (401, 403)


def test_every_call_but_health_needs_a_right(guarded: Relay) -> None:
    paths = guarded.call("GET", "/openapi.json", token=TOKENS["read"]).json["paths"]
    for path, methods in paths.items():
        for method in methods:
            reply = guarded.call(method.upper(), path.replace("{", "").replace("}", ""), {})
            assert (reply.status in (200, 503)) if path in ("/healthz", "/readyz") else reply.status == 401, path


def test_health_tells_nothing_and_needs_nothing(guarded: Relay) -> None:
    assert guarded.get("/healthz").json == {"status": "ok"}
    assert guarded.get("/readyz").json == {"status": "ready"}


@pytest.mark.parametrize("scheme", ["Basic read-token", "Bearer", "read-token", "bearer  "])
def test_other_schemes_are_no_token(guarded: Relay, scheme: str) -> None:
    assert guarded.call("GET", "/v1/stream", Authorization=scheme).status == 401


def test_the_scheme_may_be_written_in_any_case(guarded: Relay) -> None:
    assert guarded.call("GET", "/v1/stream", Authorization="bearer read-token").status == 200


def access(folder: Path, listen: str, **relay: Any) -> Access:
    return Access(Settings.model_validate({"(project)": folder, "relay": relay}), listen)


def test_every_token_is_compared_whatever_was_found(
    world: World, serve: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one comparison whose time does not tell where two texts part."""
    world.fed("a")
    limited = {"team": {"token": "team-token", "sources": ["a"]}}
    world.settings["relay"] = {"tokens": {**TOKENS, "limited": limited}}
    relay = serve()
    compared: list[bytes] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare_digest(one, other)

    monkeypatch.setattr("hmac.compare_digest", counted)
    for token, status in (("admin-token", 200), ("read-token", 200), ("wrong", 401), ("team-token", 200), (None, 401)):
        compared.clear()
        assert relay.call("GET", "/v1/stream", token=token).status == status
        assert {token.encode() for token in TOKENS.values()} | {b"team-token"} <= set(compared)


@pytest.mark.parametrize("listen", ELSEWHERE)
@pytest.mark.parametrize("missing", ORDER)
def test_off_loopback_every_right_needs_a_token(tmp_path: Path, listen: str, missing: str) -> None:
    access(tmp_path, listen, tokens=TOKENS, insecure=True)
    with pytest.raises(ConfigError, match=missing) as caught:
        access(tmp_path, listen, tokens={**TOKENS, missing: None}, insecure=True)
    assert "relay.tokens" in str(caught.value.hint)


@pytest.mark.parametrize("listen", ELSEWHERE)
def test_off_loopback_nothing_goes_in_plain_text(tmp_path: Path, listen: str) -> None:
    access(tmp_path, listen, tokens=TOKENS, tls={"certificate": "relay.pem"})
    with pytest.raises(ConfigError, match="plain text") as caught:
        access(tmp_path, listen, tokens=TOKENS)
    assert "relay.tls" in str(caught.value.hint)
    assert "relay.insecure" in str(caught.value.hint)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "localhost:0"])
def test_on_loopback_none_is_needed(tmp_path: Path, listen: str) -> None:
    access(tmp_path, listen)


def test_a_right_with_a_token_guards_beside_one_without(world: World, serve: Callable[..., Relay]) -> None:
    world.settings["relay"] = {"tokens": {"admin": "admin-token"}}
    world.fed("a")
    relay = serve()
    assert relay.stream().status == 200
    assert relay.call("POST", "/v1/sources/a/pause").status == 401
    assert relay.call("POST", "/v1/sources/a/pause", token="admin-token").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7070", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_name_that_points_at_loopback_is_refused(relay: Relay, host: str) -> None:
    reply = relay.call("GET", "/v1/stream", Host=host)
    assert (reply.status, reply.error["code"]) == (403, "FORBIDDEN")
    assert relay.call("POST", "/v1/sources/a/pause", Host=host).status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:7070", "127.0.0.1", "127.0.0.2:1", "[::1]", "[::1]:7070"])
def test_names_of_loopback_are_let_in(relay: Relay, host: str) -> None:
    assert relay.call("GET", "/v1/stream", Host=host).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_sites_pages_are_refused(relay: Relay, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/stream"), ("POST", "/v1/sources/a/pause"), ("DELETE", "/v1/consumers/a")):
        reply = relay.call(method, path, **headers)
        assert (reply.status, reply.error["code"]) == (403, "FORBIDDEN")
        assert not [name for name in reply.headers if name.startswith("access-control")]


def test_pages_of_the_relay_itself_are_let_in(relay: Relay) -> None:
    assert relay.call("GET", "/v1/stream", Origin=relay.url, Sec_Fetch_Site="same-origin").status == 200


def test_a_token_lets_no_other_host_in(guarded: Relay) -> None:
    """A page that was rebound to this server is not even told whether the tokens that it tries are right."""
    for token in ("read-token", "wrong", None):
        reply = guarded.call("GET", "/v1/stream", token=token, Host="relay.example.com")
        assert (reply.status, reply.error["code"]) == (403, "FORBIDDEN")
        assert "relay.hosts" in reply.error["hint"]
    for path in ("/", "/nothing", "/openapi.json", "/v1/schemas/1"):
        assert guarded.call("GET", path, token="read-token", Host="relay.example.com").status == 403


def test_who_has_a_token_may_be_a_page_of_another_site(guarded: Relay) -> None:
    reply = guarded.call("GET", "/v1/stream", token="read-token", Origin="https://console.example.com")
    assert reply.status == 200


@pytest.mark.parametrize(
    "host", ["relay.example.com", "RELAY.example.com:7070", "front.example.com", "states.example.com.", "192.168.1.2:1"]
)
def test_names_that_are_configured_are_let_in(world: World, serve: Callable[..., Relay], host: str) -> None:
    world.settings["relay"] = {
        "tokens": TOKENS,
        "hosts": "relay.example.com",
        "url": "https://front.example.com/differ",
    }
    world.settings["bootstrap"] = {"url": "http://states.example.com:7071"}
    relay = serve()
    assert relay.call("GET", "/v1/stream", token="read-token", Host=host).status == 200
    assert relay.call("GET", "/v1/stream", token="read-token", Host=f"x{host}").status == 403


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_may_be_asked_by_any_name(relay: Relay, path: str) -> None:
    assert relay.call("GET", path, Host="10.1.2.3:7070").status == 200
