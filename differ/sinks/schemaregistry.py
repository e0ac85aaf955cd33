"""A schema registry with Confluent's REST interface, and the wire format of messages that point into it.

    message = 0x00 + schema id (4 bytes, big-endian) + Avro value

A schema is registered once in the life of a sink under its subject; registering what is there gives the same id.
Invariant: a message's id names exactly the schema that its value was written by.
Source: Confluent's wire format and Schema Registry API.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field

from differ.config.fields import Duration, HttpURL, Section
from differ.errors import SinkError, SinkUnavailableError

if TYPE_CHECKING:
    from urllib3 import PoolManager

MAGIC = b"\0"
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryOptions(Section):
    """A schema registry."""

    url: HttpURL = Field(description="Where it is.", examples=["http://127.0.0.1:8081"])
    username: str | None = Field(None, description="With `password`.")
    password: str | None = Field(None, description="With `username`.", examples=["env:REGISTRY_PASSWORD"], repr=False)
    timeout_seconds: Duration = Field(30.0, alias="timeout", description="Of one request.")


class SchemaRegistry:
    """Registers schemas and remembers their ids; bound to one thread at a time."""

    def __init__(self, options: RegistryOptions, sink: str) -> None:
        self._options, self._sink = options, sink
        self._ids: dict[tuple[str, str], int] = {}
        self._pool: PoolManager | None = None

    def schema_id(self, subject: str, schema: Any) -> int:
        """The id of an Avro schema under a subject; one request for each schema, then none.

        Raises SinkUnavailableError while the registry is away, SinkError where it refuses the schema.
        """
        text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
        if (subject, text) not in self._ids:
            self._ids[subject, text] = self._register(subject, text)
        return self._ids[subject, text]

    def close(self) -> None:
        """End the connections."""
        if self._pool is not None:
            self._pool.clear()
        self._pool = None

    def _register(self, subject: str, text: str) -> int:
        import urllib3

        if self._pool is None:
            self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(self._options.timeout_seconds))
        headers = {"content-type": _MEDIA_TYPE, "accept": _MEDIA_TYPE}
        if self._options.username is not None:
            credentials = f"{self._options.username}:{self._options.password or ''}"
            headers |= urllib3.make_headers(basic_auth=credentials)
        url = f"{self._options.url}/subjects/{quote(subject, safe='')}/versions"
        where = f"sink {self._sink}: register the schema of {subject}"
        try:
            answer = self._pool.request("POST", url, headers=headers, redirect=False, json={"schema": text})
        except urllib3.exceptions.HTTPError as error:
            raise SinkUnavailableError(f"{where}: the registry cannot be reached: {type(error).__name__}") from None
        if answer.status == 429 or answer.status >= 500:
            raise SinkUnavailableError(f"{where}: the registry answers {answer.status}")
        if answer.status == 409:
            raise SinkError(
                f"{where}: the registry finds it incompatible with the version before",
                hint="change the subject's compatibility, or write to another topic",
            )
        return _id_of(answer, where)


def framed(schema_id: int, value: bytes) -> bytes:
    """The message."""
    return MAGIC + schema_id.to_bytes(4, "big") + value


def _id_of(answer: Any, where: str) -> int:
    try:
        found = answer.json()["id"] if answer.status == 200 else None
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, int):
        raise SinkError(f"{where}: the registry answers {answer.status}", hint="check its url and the credentials")
    return found
