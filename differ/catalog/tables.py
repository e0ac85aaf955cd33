"""The catalog's tables. One row of `stream` holds the head; everything else hangs off sources, cycles and windows.

Times are ISO 8601 text in UTC: they are for people and order nothing. Paths are relative to the project's snapshot or
state folder, so a project can be moved.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

FORMAT = 1
"""The catalog's format; a newer one is refused, so that an old program never writes into it."""

metadata = MetaData()

stream = Table(
    "stream",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("format", Integer, nullable=False),
    Column("stream_id", String(36), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("head_scn", BigInteger, nullable=False),
    Column("chain", String(64), nullable=False),
    Column("floors", BigInteger, nullable=False),  # the number of the floor that was raised last, 0 before the first
    Column("kept_after_scn", BigInteger, nullable=False),  # the last SCN that retention let go, 0 before the first
    Column("kept_after_chain", String(64), nullable=False),  # the chain there
    Column("segment_bytes", BigInteger, nullable=False),  # of all segments that ever were, for retention to subtract
)

sources = Table(
    "sources",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("cycles", BigInteger, nullable=False),  # the last cycle number handed out
    Column("current", BigInteger),  # the committed cycle whose snapshot is the state
    Column("seen_at", String(32)),  # when the state was last seen to be true
    Column("floor_scn", BigInteger, nullable=False),  # events up to here do not tell how the state came to be
    Column("floor_number", BigInteger, nullable=False),  # what `stream.floors` became when the floor was raised
    Column("paused", Boolean, nullable=False),
    Column("rebaseline", Boolean, nullable=False),
    Column("absent", Text),  # JSON StoredFile: keys missed once, whose delete waits to be confirmed
    Column("position", Text),  # JSON: the server's position at the last good scan
)

cycles = Table(
    "cycles",
    metadata,
    Column("source", String(63), primary_key=True),
    Column("cycle", BigInteger, primary_key=True),
    Column("commit_id", String(36), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("status", String(12), nullable=False),
    Column("base_cycle", BigInteger),
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    Column("result", Text),  # JSON of CycleResult
    Column("staged", Text),  # JSON of what the cycle wrote: manifest, segments, schema
    Column("scn_last", BigInteger),  # the head just after the cycle's commit
    Column("row_hash", String(32)),
)

Index("cycles_by_commit", cycles.c.commit_id)
Index("cycles_by_status", cycles.c.source, cycles.c.status, cycles.c.cycle)

windows = Table(
    "windows",
    metadata,
    Column("first_scn", BigInteger, primary_key=True),
    Column("last_scn", BigInteger, nullable=False, unique=True),
    Column("commit_id", String(36), nullable=False),
    Column("committed_at", String(32), nullable=False),
    Column("chain", String(64), nullable=False),
    Column("start_bytes", BigInteger, nullable=False),  # of all segments of the windows before
)
Index("windows_by_bytes", windows.c.start_bytes)

segments = Table(
    "segments",
    metadata,
    Column("first_scn", BigInteger, primary_key=True),
    Column("window_first", BigInteger, nullable=False),
    Column("source", String(63), nullable=False),
    Column("cycle", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("schema_id", Integer, nullable=False),
    Column("before_schema_id", Integer, nullable=False),
    Column("baseline", Boolean, nullable=False),
    Column("seen_unchanged_at", String(32)),
    Column("detected_at", String(32), nullable=False),
    Column("file", Text, nullable=False),  # JSON StoredFile
    Column("bytes", BigInteger, nullable=False),  # of the file
)
Index("segments_by_window", segments.c.window_first)
Index("segments_by_source", segments.c.source, segments.c.first_scn)

totals = Table(
    "totals",
    metadata,
    Column("source", String(63), primary_key=True),
    Column("name", String(20), primary_key=True),  # scans, rows, events, bytes, seconds, bucket, success
    Column("label", String(20), primary_key=True),  # status, op or upper bound; "" where the name has none
    Column("value", Double, nullable=False),
)

schemas = Table(
    "schemas",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("source", String(63), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("changes", Text, nullable=False),  # JSON list of sentences
    Column("body", Text, nullable=False),  # JSON Schema.to_json
)
Index("schemas_by_source", schemas.c.source, schemas.c.version, unique=True)
