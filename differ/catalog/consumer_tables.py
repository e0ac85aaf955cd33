"""The tables of the consumers' database: what consumers write often, so that it is never in the catalog's way.

Beside an SQLite catalog it is a file of its own, `<state>/consumers.db`; a PostgreSQL catalog has these tables beside
its own. What a consumer would act on carries a hash, so that a flipped bit is found and never becomes a place in the
stream. Times are ISO 8601 text in UTC, leases seconds of the clock of whoever gave them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import xxhash
from sqlalchemy import BigInteger, Boolean, Column, Dialect, Double, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

from differ.catalog.entries import to_text
from differ.errors import CorruptionError

FORMAT = 1
NAME_LENGTH = 200
_DIGITS = 16


class Sealed(TypeDecorator[str]):
    """Text stored behind the 16 hex digits of its xxh3_64; what does not match is a CorruptionError when it is read."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The stored form."""
        return None if value is None else _digest(value) + value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        """The text, verified."""
        if value is None:
            return None
        stored = str(value)
        text = stored[_DIGITS:]
        if stored[:_DIGITS] != _digest(text):
            raise CorruptionError(
                f"read consumers' database: {text[:60]!r} is not what was written", hint="run 'differ check'"
            )
        return text


def _digest(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogatepass"))


def moment() -> str:
    """The time for people, as the tables keep it."""
    return to_text(datetime.now(UTC))


metadata = MetaData()

store = Table(
    "consumer_store",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("format", Integer, nullable=False),
)

consumers = Table(
    "consumers",
    metadata,
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("sources", Sealed, nullable=False),  # JSON list; empty: all
    Column("checkpoint", Sealed),  # JSON, null: never came to one
    Column("scn", BigInteger),  # of the checkpoint's cursor
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Column("client", Text),  # what the client calls itself
    Column("row_hash", String(32), nullable=False),
)
Index("consumers_by_scn", consumers.c.scn)

groups = Table(
    "consumer_groups",
    metadata,
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("sources", Sealed, nullable=False),
    Column("exclusive", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("joins", BigInteger, nullable=False),
    Column("created_at", String(32), nullable=False, default=moment),
)

members = Table(
    "consumer_members",
    metadata,
    Column("group_name", String(NAME_LENGTH), primary_key=True),
    Column("id", String(NAME_LENGTH), primary_key=True),
    Column("seniority", BigInteger, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("lease_seconds", Double, nullable=False),
    Column("client", Text),
)

partitions = Table(
    "consumer_partitions",
    metadata,
    Column("group_name", String(NAME_LENGTH), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("owner", String(NAME_LENGTH)),
    Column("token", BigInteger, nullable=False),
    Column("checkpoint", Sealed),
    Column("updated_at", String(32), nullable=False, default=moment, onupdate=moment),
)

pins = Table(
    "pins",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("generation", String(64), nullable=False),
    Column("consumer", String(NAME_LENGTH), nullable=False),
    Column("scn", BigInteger, nullable=False),
    Column("cursor", Sealed, nullable=False),
    Column("partition", Text),
    Column("sources", Sealed, nullable=False),  # JSON: to each source the cycle of its snapshot
    Column("lease_seconds", Double, nullable=False),
    Column("expires_at", String(32), nullable=False),
)
Index("pins_by_end", pins.c.expires_at)
