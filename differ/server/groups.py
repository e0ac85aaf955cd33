"""Consumer groups over HTTP: join, heartbeat, leave, and the checkpoint of a member, which carries its tokens.

    POST /v1/consumer-groups/{name}/join       {"member"?, "sources"?, "exclusive"?, "lease_seconds"?, "client"?}
    POST /v1/consumer-groups/{name}/heartbeat  {"member", "version"?, "released"?}
    POST /v1/consumer-groups/{name}/leave      {"member"}
    PUT  /v1/consumers/{name}                  {"member", "tokens": {"7": 3}, "checkpoints": {"7": {...}}}

The first two are answered with what the member has now. In `checkpoints` a key may also be a list of partitions with
one checkpoint for all, `0,4-7`, as in `partition=`. Every call may be repeated when its answer was lost.
Invariant: what is refused (FENCED, 409) changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from differ.catalog.consumer_tables import NAME_LENGTH
from differ.catalog.groups import LEASE_SECONDS, LEASE_SECONDS_MAX, LEASE_SECONDS_MIN, Groups, Share
from differ.errors import UsageError
from differ.formats.checkpoint import Checkpoint, checkpoint_from_json
from differ.formats.partitions import VIRTUAL, Partitions
from differ.server.access import Grant, grant_of, needs
from differ.server.naming import known_sources
from differ.server.services import Services

Member = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$", description="the member's id, as join gave it")]
Name = Annotated[str, Path(min_length=1, max_length=NAME_LENGTH, description="the group's name")]
Number = Annotated[int, Field(ge=0, lt=VIRTUAL)]


class Join(BaseModel):
    """Become a member; a call with the same `member` is made once however often it is repeated."""

    model_config = ConfigDict(extra="forbid")

    member: Member | None = Field(default=None, description="an id of the caller's own, such as a UUID")
    sources: list[str] = Field(default=[], max_length=10_000, description="that the group follows; empty for all")
    exclusive: bool = Field(default=False, description="the eldest member has all partitions, the others stand by")
    lease_seconds: float = Field(default=LEASE_SECONDS, ge=LEASE_SECONDS_MIN, le=LEASE_SECONDS_MAX)
    client: str | None = Field(
        default=None, max_length=NAME_LENGTH, pattern=r"^[^\x00-\x1f]*$", description="what operators are shown"
    )


class Heartbeat(BaseModel):
    """The member lives; it has stored the checkpoints of what it releases and works on it no more."""

    model_config = ConfigDict(extra="forbid")

    member: Member
    version: int | None = Field(
        default=None, description="of the last answer; at the same one checkpoints are left out"
    )
    released: list[Number] = Field(default=[], max_length=VIRTUAL)


class Leave(BaseModel):
    """The member goes; all its partitions are free at once."""

    model_config = ConfigDict(extra="forbid")

    member: Member


class GroupCheckpoint(BaseModel):
    """Where partitions stand, from the member that owns them."""

    model_config = ConfigDict(extra="forbid")

    member: Member
    tokens: dict[str, int] = Field(max_length=VIRTUAL, description="of each partition, as join and heartbeat gave them")
    checkpoints: dict[str, dict[str, Any]] = Field(max_length=VIRTUAL, description="by partition, or `0,4-7`")


class Owned(BaseModel):
    """What a member has."""

    member: str
    lease_seconds: float
    version: int = Field(description="grows with every change of members or owners")
    partitions: dict[str, int] = Field(description="the member's partitions with their tokens")
    checkpoints: dict[str, dict[str, Any]] = Field(description="where they stand; without those that stand nowhere")
    revoked: list[int] = Field(description="what it should release as soon as its checkpoint is stored")


class Left(BaseModel):
    """Whether there was such a member."""

    left: bool


def router(services: Services) -> APIRouter:
    """The calls of consumer groups; each is one small transaction, in a worker thread."""
    routes = APIRouter(
        prefix="/v1/consumer-groups", tags=["consumers"], dependencies=[Depends(needs("consume", by_source=True))]
    )
    groups = Groups(services.project.consumers)

    @routes.post("/{name:path}/join", summary="Become a member of a consumer group")
    def join(request: Request, name: Name, body: Join) -> Owned:
        services.check_hosted("relay")
        check_given(services, grant_of(request), name, body.sources)
        known_sources(services.project, body.sources)
        share = groups.join(
            name,
            member=body.member,
            sources=body.sources,
            exclusive=body.exclusive,
            lease_seconds=body.lease_seconds,
            client=body.client,
        )
        return _owned(share)

    @routes.post("/{name:path}/heartbeat", summary="Stay a member, release partitions, learn what changed")
    def heartbeat(request: Request, name: Name, body: Heartbeat) -> Owned:
        services.check_hosted("relay")
        check_given(services, grant_of(request), name)
        return _owned(groups.heartbeat(name, body.member, version=body.version, released=body.released))

    @routes.post("/{name:path}/leave", summary="Leave the group")
    def leave(request: Request, name: Name, body: Leave) -> Left:
        services.check_hosted("relay")
        check_given(services, grant_of(request), name)
        return Left(left=groups.leave(name, body.member))

    return routes


def check_given(
    services: Services, grant: Grant, name: str, sources: Sequence[str] | None = None, *, makes: bool = False
) -> None:
    """Raise AccessError unless the consumer or group is of sources that the token gives, before and after the call.

    sources: what it is to follow from now on; None: what it follows already. makes: the call makes one where there is
    none. Costs a read for tokens of some sources.
    """
    if grant.sources is None:
        return
    entry = services.project.consumers.get(name)
    if entry is not None:
        grant.check(entry.sources)
    if sources is not None or (makes and entry is None):
        grant.check(sources or ())


def save_group_checkpoint(services: Services, name: str, body: GroupCheckpoint) -> None:
    """The group form of PUT /v1/consumers/{name}; blocks until it is durable. Raises FencedError, UsageError."""
    tokens = {_number(key): token for key, token in body.tokens.items()}
    Groups(services.project.consumers).save(name, body.member, tokens, _spread(body.checkpoints))


def _owned(share: Share) -> Owned:
    return Owned(
        member=share.member,
        lease_seconds=share.lease_seconds,
        version=share.version,
        partitions={str(number): token for number, token in share.partitions.items()},
        checkpoints={str(number): checkpoint.to_json() for number, checkpoint in share.checkpoints.items()},
        revoked=list(share.revoked),
    )


def _spread(bodies: Mapping[str, Mapping[str, Any]]) -> dict[int, Checkpoint]:
    """To each partition its checkpoint."""
    spread: dict[int, Checkpoint] = {}
    for key, body in bodies.items():
        checkpoint = checkpoint_from_json(body)
        for number in Partitions.parse(f"{key}/{VIRTUAL}").chosen:
            if number in spread:
                raise UsageError(f"checkpoint: partition {number} comes twice", hint="one checkpoint a partition")
            spread[number] = checkpoint
    return spread


def _number(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 3):
        raise UsageError(f"checkpoint: tokens of {key[:40]!r}, which is no partition", hint='such as {"7": 3}')
    return int(key)
