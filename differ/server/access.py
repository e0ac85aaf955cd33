"""Who may do what: bearer tokens by right and source, and the names that the server answers to.

    read      events, snapshots, status        admin's and consume's tokens give it too
    consume   consumers, groups, bootstrap     admin's token gives it too
    admin     scan, pause, approve, modules

A right without a token is open, and only a relay that listens on loopback may have one; elsewhere it also needs TLS, or
the word that a proxy ends it. A token of `limited` gives its right to some sources: a call that is not made for that
(`by_source`) refuses it. What is open to every program of this machine must not be open to the web pages in its
browser: such a call is refused when the browser says that another site makes it (Origin, Sec-Fetch-Site). Whatever its
token, a call is refused when its Host is no name of this server (DNS rebinding). No CORS header is ever sent.

Invariant: tokens are compared in constant time, all of them at each call. Source: the Fetch standard's request headers;
RFC 6750.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.types import Scope

from differ.config import Settings
from differ.config.local import is_local
from differ.config.relay import RIGHTS, Right
from differ.errors import AccessError, ConfigError
from differ.server.problems import TooManyStreamsError

_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="The token of the right, or of a higher one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a call may do. name: of the token, for people and limits; sources: None for all."""

    name: str
    right: Right
    sources: frozenset[str] | None = None

    def gives(self, sources: Collection[str]) -> bool:
        """Whether a thing of these sources is given; one of none is of all."""
        return self.sources is None or (bool(sources) and self.sources.issuperset(sources))

    def check(self, sources: Collection[str]) -> None:
        """Raise AccessError unless it gives them."""
        if not self.gives(sources):
            missing = sorted(set(sources) - (self.sources or set()))
            raise AccessError(
                f"the token does not give {f'source {missing[0]!r}' if missing else 'what is of all sources'}",
                hint=f"name sources among {', '.join(sorted(self.sources or ()))}",
                forbidden=True,
            )

    def chosen(self, named: Sequence[str]) -> tuple[str, ...]:
        """The sources that a call is about: those that it names, else all that the token gives. () stands for all.

        Raises AccessError.
        """
        if named or self.sources is None:
            self.check(named)
            return tuple(named)
        return tuple(sorted(self.sources))


@dataclass(frozen=True, slots=True)
class _Token:
    """A token and what it gives."""

    secret: bytes
    grant: Grant


class Access:
    """The rule of one server that listens at host:port."""

    def __init__(self, settings: Settings, listen: str) -> None:
        """Raises ConfigError for a port that others could reach without tokens, or in plain text."""
        self._streams: Counter[str] = Counter()
        relay = settings.relay
        self._listen = listen
        self._tokens = [
            _Token(secret.encode(), Grant(name=right, right=right))
            for right in RIGHTS
            if (secret := getattr(relay.tokens, right))
        ]
        self._guarded = frozenset(token.grant.right for token in self._tokens)
        for name, limited in relay.tokens.limited.items():
            grant = Grant(name=f"limited.{name}", right=limited.right, sources=frozenset(limited.sources))
            self._tokens.append(_Token(limited.token.encode(), grant))
        urls = (relay.url, settings.bootstrap.url)
        self._hosts = frozenset(map(_host_of, (*relay.hosts, listen, *(urlsplit(url).netloc for url in urls if url))))
        self.streams_per_token = relay.streams_per_token
        self._check_open(is_private=relay.tls is not None or relay.insecure)

    def _check_open(self, *, is_private: bool) -> None:
        if is_local(_host_of(self._listen)):
            return
        missing = [right for right in RIGHTS if right not in self._guarded]
        if missing:
            raise ConfigError(
                f"listen on {self._listen}: relay.tokens has none for {', '.join(missing)}, and others could reach it",
                hint="set all of relay.tokens (read, consume, admin), or listen on 127.0.0.1",
            )
        if not is_private:
            raise ConfigError(
                f"listen on {self._listen}: tokens and events would cross the network in plain text",
                hint="set relay.tls: {certificate, key}; or relay.insecure: true, where a proxy in front ends TLS",
            )

    def reload(self, settings: Settings) -> None:
        """Take these settings from the next call on. Raises ConfigError, and then nothing changed."""
        self.__dict__.update(Access(settings, self._listen).__dict__ | {"_streams": self._streams})

    def check(self, right: Right, headers: Mapping[str, str]) -> Grant:
        """What a call with these headers (names in lower case) may do; raises AccessError unless that is the right."""
        given = _given_token(headers.get("authorization"))
        holds = self._grant_of(given)
        if holds is not None and RIGHTS.index(holds.right) >= RIGHTS.index(right):
            return holds
        if right not in self._guarded:
            _check_not_foreign(headers)
            return Grant(name="open", right=right)
        if given is None:
            raise AccessError(
                f"{right}: the call has no token", hint="send 'Authorization: Bearer TOKEN', as relay.tokens has it"
            )
        if holds is None:
            raise AccessError(f"{right}: the token is not known here", hint="compare it with relay.tokens")
        raise AccessError(f"{right}: the token gives only {holds.right}", hint=f"use that of {right}", forbidden=True)

    def check_host(self, host: str) -> None:
        """Raise AccessError unless a call's Host header names this server.

        Names of loopback always do, and any address where every right needs a token: a page that was rebound comes by
        a name.
        """
        name = _host_of(host)
        if name in self._hosts or is_local(name):
            return
        if len(self._guarded) == len(RIGHTS) and _is_address(name):
            return
        raise AccessError(
            f"the call's Host is {host[:100]!r}, no name of this server",
            hint="call it as 127.0.0.1 or localhost, or add the name to relay.hosts",
            forbidden=True,
        )

    def begin_stream(self, scope: Scope) -> None:
        """Count a call that may last, until `ended`. Raises TooManyStreamsError. For the server's loop alone."""
        name = scope["differ.grant"].name
        if self._streams[name] >= self.streams_per_token:
            raise TooManyStreamsError(
                f"the token ({name}) has {self.streams_per_token} calls for events under way",
                hint="end some of them, or raise relay.streams_per_token",
            )
        self._streams[name] += 1
        scope["differ.stream"] = name

    def ended(self, scope: Scope) -> None:
        """A call ended."""
        if (name := scope.pop("differ.stream", None)) is not None:
            self._streams[name] -= 1

    def _grant_of(self, given: str | None) -> Grant | None:
        """What the token gives; looks at all of them whatever it finds."""
        found: Grant | None = None
        secret = (given or "").encode()
        for token in self._tokens:
            if hmac.compare_digest(secret, token.secret):
                found = token.grant
        return found


def needs(right: Right, *, by_source: bool = False) -> Callable[..., Awaitable[None]]:
    """A dependency of a route or router: the call needs this right.

    by_source: the route looks at `grant_of(request)`; a source in its path is looked at here. Where it does not, a
    token of some sources is refused.
    """

    async def check(request: Request, _: Annotated[object, Depends(_BEARER)]) -> None:
        access: Access = request.app.state.services.access
        grant = access.check(right, request.headers)
        if grant.sources is not None:
            if not by_source:
                raise AccessError(
                    "the call is about all sources, and the token gives only some",
                    hint=f"use that of {right}",
                    forbidden=True,
                )
            if "source" in request.path_params:
                grant.check([request.path_params["source"]])
        request.scope["differ.grant"] = grant

    return check


async def streams(request: Request) -> None:
    """A dependency of a route that may answer for long, after `needs`."""
    request.app.state.services.access.begin_stream(request.scope)


def grant_of(request: Request) -> Grant:
    """What the call may do, in a route that has `needs`."""
    grant: Grant = request.scope["differ.grant"]
    return grant


def _given_token(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _host_of(text: str) -> str:
    """The name in `name:port`, `name`, `[::1]:port` or `[::1]`, in the form in which they are compared."""
    name = text if text.endswith("]") else text.rpartition(":")[0] or text
    return name.strip("[]").lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _check_not_foreign(headers: Mapping[str, str]) -> None:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") or (
        origin is not None and urlsplit(origin).netloc != headers.get("host", "")
    ):
        raise AccessError(
            "the call comes from a web page of another site",
            hint="set relay.tokens and send one, or call it from a program",
            forbidden=True,
        )
