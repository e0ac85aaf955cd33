"""A catalog whose windows are made up, so that thousands of retentions can be tried without a scan."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert, update

from differ.catalog import Catalog, tables
from differ.catalog.catalog import FRESH
from differ.catalog.entries import to_text
from differ.formats.cursor import Cursor
from differ.storage import StoredFile

NOW = datetime(2026, 1, 31, tzinfo=UTC)
IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Made:
    """A window: how many events, how old in days, how many bytes, all of one source."""

    count: int
    days: float
    bytes: int
    source: str = "orders"


@contextmanager
def timeline(windows: Sequence[Made]) -> Iterator[Catalog]:
    """A catalog with these windows, from SCN 1 on."""
    folder = Path(tempfile.mkdtemp(prefix="differ-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    catalog = Catalog(f"sqlite:///{folder}/catalog.db")
    try:
        with catalog.writing() as connection:
            for source in sorted({window.source for window in windows}):
                connection.execute(insert(tables.sources).values(name=source, **FRESH))
            first = 1
            total = 0
            for window in windows:
                moment = to_text(NOW - timedelta(days=window.days))
                file = StoredFile(path=f"{first}", bytes=window.bytes, hash="", rows=window.count)
                body = {"first_scn": first, "last_scn": first + window.count - 1, "commit_id": f"c{first}"}
                body |= {"committed_at": moment, "chain": f"{first:064x}", "start_bytes": total}
                connection.execute(insert(tables.windows).values(**body))
                part = {"first_scn": first, "window_first": first, "source": window.source, "cycle": first}
                part |= {"count": window.count, "schema_id": 1, "before_schema_id": 1, "baseline": False}
                part |= {"detected_at": moment, "file": json.dumps(file.to_json()), "bytes": window.bytes}
                connection.execute(insert(tables.segments).values(**part))
                first += window.count
                total += window.bytes
            head = {"head_scn": first - 1, "chain": body["chain"], "segment_bytes": total} if windows else {}
            if head:
                connection.execute(update(tables.stream).values(**head))
        yield catalog
    finally:
        catalog.close()
        shutil.rmtree(folder)


def cursor(catalog: Catalog, scn: int) -> Cursor:
    """The cursor that the relay gave to who stood at an SCN."""
    standing = catalog.standing(scn)
    stream = standing.stream
    return Cursor(stream=stream.stream_id, scn=scn, chain=(standing.chain or "f" * 64)[:32], floors=stream.floors)
