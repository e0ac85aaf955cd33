"""The relay's port: HTTPS, the headers of every answer, no token in a URL, and limits on what a call may cost."""

import gzip
import http.client
import logging
import socket
import ssl
from collections.abc import Callable

import pytest
from urllib3 import PoolManager
from urllib3.exceptions import SSLError

from differ.errors import ConfigError
from differ.server.gate import BODY_BYTES_MAX
from differ.server.serving import HEAD_BYTES_MAX
from differ.server.stream import LIMIT_MAX
from tests.cycle.world import World
from tests.security.certificates import Certificates
from tests.server.eventually import eventually
from tests.server.relay import Relay

CANARY = "c4nary5ecret"
TOKENS = {"read": "read-token", "consume": "consume-token", "admin": "admin-token"}


# -- HTTPS -------------------------------------------------------------------------------------------------------------


def test_with_a_certificate_the_port_speaks_https_alone(
    world: World, serve: Callable[..., Relay], certificates: Certificates
) -> None:
    tls = {"certificate": str(certificates.certificate), "key": str(certificates.key)}
    world.settings["relay"] = {"tls": tls, "tokens": TOKENS}
    relay = serve()
    assert relay.url.startswith("https://127.0.0.1:")
    headers = {"Authorization": "Bearer read-token"}
    trusting = PoolManager(ca_certs=str(certificates.authority))
    assert trusting.request("GET", f"{relay.url}/v1/stream", headers=headers, retries=False).status == 200
    with pytest.raises(SSLError):
        PoolManager().request("GET", f"{relay.url}/v1/stream", headers=headers, retries=False)
    port = int(relay.url.rpartition(":")[2])
    plain = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    plain.request("GET", "/healthz")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(world: World, serve: Callable[..., Relay], certificates: Certificates) -> None:
    tls = {"certificate": str(certificates.certificate), "key": str(certificates.key)}
    world.settings["relay"] = {"tls": tls}
    port = int(serve().url.rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(certificates.authority))
    for version, is_taken in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
            if is_taken:
                context.wrap_socket(plain, server_hostname="relay.example.net").close()
            else:
                with pytest.raises(ssl.SSLError):
                    context.wrap_socket(plain, server_hostname="relay.example.net")


@pytest.mark.parametrize("broken", ["missing", "no certificate", "another key"])
def test_a_certificate_that_cannot_be_used_is_told(
    world: World, serve: Callable[..., Relay], certificates: Certificates, broken: str
) -> None:
    tls = {"certificate": "relay.pem", "key": str(certificates.key)}
    if broken == "no certificate":
        (world.folder / "relay.pem").write_text("no PEM\n")
    if broken == "another key":
        tls = {"certificate": str(certificates.certificate), "key": str(certificates.authority.with_suffix(".key"))}
    world.settings["relay"] = {"tls": tls}
    with pytest.raises(ConfigError, match=r"relay\.tls") as caught:
        serve()
    assert "PEM" in str(caught.value.hint)


# -- headers -----------------------------------------------------------------------------------------------------------

ANSWERS = [
    ("GET", "/healthz", None, 200),
    ("GET", "/v1/sources", None, 200),
    ("GET", "/v1/stream", None, 200),
    ("GET", "/metrics", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("GET", "/nothing", None, 404),
    ("PATCH", "/v1/sources", None, 405),
    ("GET", "/v1/stream?since=x", None, 422),
    ("PUT", "/v1/consumers/a", b"{", 422),
    ("PUT", "/v1/consumers/a", b"x" * (BODY_BYTES_MAX + 1), 413),
    ("GET", "/v1/modules", None, 503),
]


def test_every_answer_tells_browsers_to_be_careful(relay: Relay) -> None:
    for method, path, body, status in ANSWERS:
        reply = relay.call(method, path, body)
        assert reply.status == status, path
        check_headers(reply.headers)


def test_so_do_refusals_and_what_is_no_http(relay: Relay) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        reply = relay.call("GET", "/v1/stream", **headers)
        assert reply.status == 403
        check_headers(reply.headers)
    with socket.create_connection(relay.address, timeout=60) as raw:
        raw.sendall(b"\x16\x03 no HTTP\r\n\r\n")
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert answer.status == 400
        check_headers({name.lower(): value for name, value in answer.getheaders()})


def check_headers(headers: dict[str, str]) -> None:
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert {"'self'", "'none'"}.issuperset(policy.values())
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


# -- tokens in URLs ----------------------------------------------------------------------------------------------------


def test_a_token_in_a_url_is_refused_and_told_to_nobody(
    world: World, serve: Callable[..., Relay], caplog: pytest.LogCaptureFixture
) -> None:
    world.settings["relay"] = {"tokens": {"read": CANARY, "consume": CANARY + "2", "admin": CANARY + "3"}}
    relay = serve()
    caplog.set_level(logging.DEBUG)
    for name in ("token", "access_token", "Authorization", "api_key", "bearer"):
        for path in ("/v1/stream", "/v1/sources", "/v1/consumers", "/healthz", "/nothing"):
            reply = relay.call("GET", f"{path}?{name}={CANARY}")
            assert (reply.status, reply.error["code"]) == (400, "BAD_REQUEST")
            assert "URL" in reply.error["message"]
            assert CANARY not in reply.body.decode()
    assert CANARY not in caplog.text


def test_a_query_is_never_logged(world: World, serve: Callable[..., Relay], caplog: pytest.LogCaptureFixture) -> None:
    relay = serve()
    with caplog.at_level(logging.DEBUG):
        for path in ("/v1/stream", "/v1/sources", "/nothing", "/healthz"):
            relay.call("GET", f"{path}?what={CANARY}")
            relay.call("GET", f"{path}?since={CANARY}")
    assert CANARY not in caplog.text


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_head_may_not_be_endless(relay: Relay) -> None:
    assert relay.call("GET", "/v1/stream", X_Some="x" * (HEAD_BYTES_MAX // 2)).status == 200
    assert relay.call("GET", "/v1/stream", X_Some="x" * HEAD_BYTES_MAX).status == 413
    assert relay.call("GET", f"/v1/stream?cursor={'x' * HEAD_BYTES_MAX}").status == 413
    with socket.create_connection(relay.address, timeout=60) as raw:
        raw.sendall(b"GET /v1/stream HTTP/1.1\r\n")
        with pytest.raises((ConnectionError, BrokenPipeError)):
            raw.sendall((b"X-Some: " + b"x" * 1000 + b"\r\n") * 100_000)


def test_pages_have_a_largest_size(relay: Relay) -> None:
    assert relay.stream(limit=LIMIT_MAX).status == 200
    for parameters in ({"limit": LIMIT_MAX + 1}, {"wait": 61}, {"cursor": "x" * 201}, {"partition": "0," * 1001}):
        assert relay.stream(**parameters).status == 422


def test_a_compressed_body_is_not_unpacked(relay: Relay) -> None:
    """64 MiB of spaces around an object are 64 KiB: it is refused as it lies there, and never grows."""
    bomb = gzip.compress(b" " * (64 << 20) + b"{}")
    assert len(bomb) < BODY_BYTES_MAX
    for headers in ({"Content_Encoding": "gzip"}, {}):
        assert relay.call("PUT", "/v1/consumers/a", bomb, Content_Type="application/json", **headers).status in (
            400,
            422,
        )


def test_a_token_may_have_so_many_streams_at_once(world: World, serve: Callable[..., Relay]) -> None:
    world.settings["relay"] = {"streams_per_token": 2, "tokens": TOKENS}
    relay = serve()

    def waiting(token: str) -> http.client.HTTPConnection:
        connection = relay.connect()
        connection.request("GET", "/v1/stream?wait=60", headers={"Authorization": f"Bearer {token}"})
        return connection

    held = [waiting("read-token") for _ in range(2)]
    eventually(lambda: relay.services.arrivals.waiting == 2)
    reply = relay.call("GET", "/v1/stream", token="read-token")
    assert (reply.status, reply.error["code"]) == (429, "TOO_MANY_STREAMS")
    assert reply.headers["retry-after"]
    # Other tokens, and calls that end at once, are not concerned.
    assert relay.call("GET", "/v1/stream", token="consume-token").status == 200
    assert relay.call("GET", "/v1/sources", token="read-token").status == 200
    held.pop().close()
    eventually(lambda: relay.call("GET", "/v1/stream", token="read-token").status == 200)
    for connection in held:
        connection.close()
