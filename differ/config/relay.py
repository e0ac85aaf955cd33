"""The settings of what serves consumers: `relay:`, `bootstrap:` and `metrics:` of scheduler.yaml; the field texts
are the reference page.

Invariant: frozen, and every default is the documented one. A URL that is not given follows from where the port is
opened, so that one machine needs none.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from differ.config.fields import Columns, CountFromOne, Duration, File, HostNames, HttpURL, Listen, Name, Section, Size

Right = Literal["read", "consume", "admin"]
RIGHTS: tuple[Right, ...] = ("read", "consume", "admin")
"""Ascending: each gives those before it."""


class RetentionSettings(Section):
    """What the relay keeps. Nothing that a registered consumer still needs is removed, up to a cap."""

    age_seconds: Duration = Field(
        7 * 86400.0, alias="age", description="Events older than this may be removed.", examples=["7d"]
    )
    size_bytes: Size = Field(
        10 * 1024**3,
        alias="size",
        description="Past this size the oldest events may be removed.",
        examples=["10GiB"],
    )
    hold_for_consumers_bytes: Size = Field(
        20 * 1024**3,
        alias="hold_for_consumers",
        description="How much is kept beyond age and size for registered consumers that are behind.",
        examples=["20GiB"],
    )


class LimitedToken(Section):
    """A token that gives one right, and that only for some sources."""

    token: str = Field(min_length=1, description="The token.", examples=["env:SHOP_TEAM_TOKEN"], repr=False)
    right: Right = Field("read", description="What it gives, and the rights before it.", examples=["consume"])
    sources: Columns = Field(min_length=1, description="The sources that it gives.", examples=["[orders]"])


class TokenSettings(Section):
    """Bearer tokens of the HTTP interface; a right without a token is open on loopback only."""

    read: str | None = Field(
        None,
        min_length=1,
        description="Read events, snapshots and status.",
        examples=["env:DIFFER_READ_TOKEN"],
        repr=False,
    )
    consume: str | None = Field(
        None, min_length=1, description="Register consumers and move checkpoints.",
        examples=["env:DIFFER_CONSUME_TOKEN"], repr=False,
    )  # fmt: skip
    admin: str | None = Field(
        None, min_length=1, description="Scan, pause, resume, approve, reject, and start and stop modules.",
        examples=["env:DIFFER_ADMIN_TOKEN"], repr=False,
    )  # fmt: skip
    limited: dict[Name, LimitedToken] = Field(
        default_factory=dict, description="Further tokens, by a name of their holder, for some sources only.",
        examples=["{shop_team: {token: env:SHOP_TEAM_TOKEN, right: consume, sources: [orders]}}"],
    )  # fmt: skip


class TLSSettings(Section):
    """The certificate that the server shows; then it speaks HTTPS alone. Read again at SIGHUP."""

    certificate: File = Field(
        description="PEM file of the certificate, with those between it and its authority.", examples=["relay.pem"]
    )
    key: File | None = Field(
        None, description="PEM file of its private key, where it is in a file of its own.", examples=["relay.key"]
    )


class RelaySettings(Section):
    """The durable buffer of events and the server that streams them."""

    listen: Listen = Field(
        "127.0.0.1:7070",
        description="host:port to listen on; port 0 takes a free one, which the log names.",
        examples=["127.0.0.1:7070"],
    )
    url: HttpURL | None = Field(
        None,
        description="Where sinks reach the relay; by default at the port of `listen` on this machine.",
        examples=["https://relay.example.net"],
    )
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings,
        description="What is kept.",
        examples=["{age: 7d, size: 10GiB}"],
    )
    tokens: TokenSettings = Field(
        default_factory=TokenSettings,
        description="Bearer tokens by right.",
        examples=["{read: env:DIFFER_READ_TOKEN}"],
    )
    tls: TLSSettings | None = Field(
        None,
        description="What the server proves itself by, also where bootstrap runs in a process of its own.",
        examples=["{certificate: relay.pem, key: relay.key}"],
    )
    insecure: bool = Field(
        False,
        description="Listen beyond this machine without `tls`: for a proxy in front that ends it.",
        examples=["true"],
    )
    hosts: HostNames = Field(
        (),
        description="Names that clients call the server by, besides those of `listen`, `url` and loopback; a call to "
        "another name is refused.",
        examples=["[relay.example.net]"],
    )
    streams_per_token: CountFromOne = Field(
        2048,
        description="Calls for events or rows that one token may have under way at once.",
        examples=["100"],
    )

    @property
    def reach(self) -> str:
        """The URL at which this project's sinks and commands reach the relay."""
        return self.url or local_url(self.listen, "http" if self.tls is None else "https")


class BootstrapSettings(Section):
    """What gives a consumer the states to begin with; beside the relay in one process it shares the relay's port."""

    listen: Listen = Field(
        "127.0.0.1:7071",
        description="host:port to listen on where the relay runs in another process.",
        examples=["127.0.0.1:7071"],
    )
    url: HttpURL | None = Field(
        None,
        description="Where a relay without this module sends consumers that must bootstrap.",
        examples=["http://127.0.0.1:7071"],
    )
    lease_seconds: Duration = Field(
        600.0,
        alias="lease",
        description="How long all is kept for a bootstrapping consumer after its last call, at least 1s.",
        examples=["10m"],
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.lease_seconds < 1:
            raise ValueError("'lease' is at least 1s")
        return self


class MetricsSettings(Section):
    """Measures for those who do not scrape `/metrics` of the relay with Prometheus."""

    graphite: Listen | None = Field(
        None,
        description="host:port of a Graphite server (plaintext protocol) that every measure is sent to.",
        examples=["127.0.0.1:2003"],
    )
    prefix: str = Field(
        "differ",
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        description="What the names begin with in Graphite.",
        examples=["differ"],
    )
    every_seconds: Duration = Field(
        60.0, alias="every", description="Time from one sending to the next, at least 1s.", examples=["60s"]
    )

    @model_validator(mode="after")
    def _seldom_enough(self) -> Self:
        if self.every_seconds < 1:
            raise ValueError("'every' is at least 1s")
        return self


def local_url(listen: str, scheme: str = "http") -> str:
    """The URL of a port of this machine: `0.0.0.0` and `[::]` are no addresses to call."""
    host, _, port = listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    return f"{scheme}://{host}:{port}"
