"""Who may do what: bearer tokens by right, and what protects a relay that needs none.

    read      events, snapshots, status        admin's and consume's tokens give it too
    consume   consumers, groups, bootstrap     admin's token gives it too
    admin     scan, pause, approve, modules

A right without a token is open, and only a relay that listens on loopback may have one. What is open to every program
of this machine must not be open to the web pages in its browser: such a call is refused when its Host is no name of
loopback (DNS rebinding), or when the browser says that another site makes it (Origin, Sec-Fetch-Site). No CORS header
is ever sent.

Invariant: tokens are compared in constant time, all of them at each call. Source: the Fetch standard's request headers;
RFC 6750.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from differ.config import Settings
from differ.errors import AccessError, ConfigError

Right = Literal["read", "consume", "admin"]
RIGHTS: tuple[Right, ...] = ("read", "consume", "admin")
"""Ascending: each gives those before it."""
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="The token of the right, or of a higher one.")


class Access:
    """The rule of one relay. tokens: by right; listen: where it listens, host:port."""

    def __init__(self, tokens: Mapping[Right, str | None], listen: str) -> None:
        self._listen = listen
        self._tokens: dict[Right, str] = {right: token for right in RIGHTS if (token := tokens.get(right))}
        missing = [right for right in RIGHTS if right not in self._tokens]
        if missing and not is_loopback(listen):
            raise ConfigError(
                f"listen on {listen}: relay.tokens has none for {', '.join(missing)}, and others could reach it",
                hint="set all of relay.tokens (read, consume, admin), or listen on 127.0.0.1",
            )

    @classmethod
    def of(cls, settings: Settings, listen: str) -> Access:
        """The rule that scheduler.yaml gives. Raises ConfigError for a port that is open to others without tokens."""
        tokens = settings.relay.tokens
        return cls({"read": tokens.read, "consume": tokens.consume, "admin": tokens.admin}, listen)

    def reload(self, settings: Settings) -> None:
        """Ask for the tokens of these settings from the next call on. Raises ConfigError, and then nothing changed."""
        self._tokens = Access.of(settings, self._listen)._tokens

    def check(self, right: Right, headers: Mapping[str, str]) -> None:
        """Raise AccessError unless a call with these headers (names in lower case) has the right."""
        given = _given_token(headers.get("authorization"))
        holds = self._right_of(given)
        if holds is not None and RIGHTS.index(holds) >= RIGHTS.index(right):
            return
        if right not in self._tokens:
            _check_not_foreign(headers)
            return
        if given is None:
            raise AccessError(
                f"{right}: the call has no token", hint="send 'Authorization: Bearer TOKEN', as relay.tokens has it"
            )
        if holds is None:
            raise AccessError(f"{right}: the token is not known here", hint="compare it with relay.tokens")
        raise AccessError(f"{right}: the token gives only {holds}", hint=f"use that of {right}", forbidden=True)

    def _right_of(self, token: str | None) -> Right | None:
        """The highest right that the token gives; looks at all of them whatever it finds."""
        found: Right | None = None
        for right in RIGHTS:
            expected = self._tokens.get(right)
            is_same = hmac.compare_digest((token or "").encode(), (expected or "").encode())
            if is_same and token and expected:
                found = right
        return found


def needs(right: Right) -> Callable[..., Awaitable[None]]:
    """A dependency of a route or router: the call needs this right."""

    async def check(request: Request, _: Annotated[object, Depends(_BEARER)]) -> None:
        access: Access = request.app.state.services.access
        access.check(right, request.headers)

    return check


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach a port opened at host:port."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _given_token(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _check_not_foreign(headers: Mapping[str, str]) -> None:
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if name.lower() not in _LOOPBACK_NAMES and not _is_loopback_address(name):
        raise AccessError(
            f"the call's Host is {host!r}, no name of this machine's loopback",
            hint="call it as 127.0.0.1 or localhost, or set relay.tokens and send one",
            forbidden=True,
        )
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") or (origin is not None and urlsplit(origin).netloc != host):
        raise AccessError(
            "the call comes from a web page of another site",
            hint="set relay.tokens and send one, or call it from a program",
            forbidden=True,
        )


def _is_loopback_address(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
