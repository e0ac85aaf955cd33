"""Two sources on one table, one read in full and one by checksums, and random changes of the table."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st

from tests.cycle.conftest import IN_MEMORY
from tests.cycle.world import DELTAS, World

CHECKSUM = {"range_rows": 4, "full_every": 1000, "moved_max": "100%"}
"""Narrow ranges, and only those that moved are ever read."""

TEXTS = ["a", "A", "\u00e1", "a\u0301", "a ", "", " a", "b", "1", "NULL", "'", "\\", ",", "x" * 3000, None]
INTS = [0, 1, -1, 2**32, -(2**32), 2**32 + 1, 2**63 - 1, -(2**63), None]
NUMBERS = ["0", "1", "-1", "19.90", "-19.90", "10000", "100000000", None]
MOMENTS = [
    "2024-01-01 00:00:00",
    "2024-01-01 00:00:00.000001",
    "1969-12-31 23:59:59.999999",
    "2400-05-05 05:05:05",
    None,
]
VALUES = {
    "i": st.sampled_from(INTS),
    "n": st.sampled_from(NUMBERS),
    "n2": st.sampled_from(NUMBERS),
    "f": st.sampled_from([0.0, 1.5, -1.5, 0.1 + 0.2, 0.3, None]),
    "f2": st.sampled_from([0.0, 1.5, -1.5, 0.1 + 0.2, 0.3, None]),
    "s": st.sampled_from(TEXTS),
    "c": st.sampled_from(["a", "A", "b", "", None]),
    "d": st.sampled_from(["2024-01-01", "1999-12-31", None]),
    "at": st.sampled_from(MOMENTS),
    "x": st.sampled_from([b"", b"\x00", b"a", b"\\", b"'", None]),
    "on": st.sampled_from([True, False, None]),
}
POSTGRESQL = """CREATE TABLE {t} (k bigint NOT NULL, k2 integer NOT NULL, i bigint, n numeric(12,2), n2 numeric,
 f double precision, f2 double precision, s text, c char(5), d date, at timestamp, x bytea, "on" boolean,
 PRIMARY KEY (k, k2))"""
MARIADB = """CREATE TABLE {t} (k bigint NOT NULL, k2 integer NOT NULL, i bigint, n decimal(12,2), n2 decimal(20,4),
 f double, f2 double, s text COLLATE utf8mb4_general_ci, c char(5) COLLATE utf8mb4_general_ci, d date, at datetime(6),
 x blob, `on` boolean, PRIMARY KEY (k, k2))"""

keys = st.one_of(st.integers(-40, 120), st.sampled_from([10**6, 2**62, -(2**62), 2**63 - 1, -(2**63)]))
rows = st.fixed_dictionaries(VALUES)


@dataclass(frozen=True)
class Change:
    """One change of the table; what it means is in `Shop.change`."""

    kind: str
    low: int = 0
    high: int = 0
    row: dict[str, Any] | None = None


changes = st.one_of(
    st.builds(Change, kind=st.just("insert"), low=keys, high=st.integers(0, 30), row=rows),
    st.builds(Change, kind=st.just("update"), low=keys, high=st.integers(0, 12), row=rows),
    st.builds(Change, kind=st.just("one"), low=keys, row=st.sampled_from(sorted(VALUES)).flatmap(
        lambda name: st.fixed_dictionaries({name: VALUES[name]}))),
    st.builds(Change, kind=st.just("delete"), low=keys, high=st.integers(0, 60)),
    st.builds(Change, kind=st.just("move"), low=keys, high=st.integers(-50, 200)),
    st.builds(Change, kind=st.sampled_from(["swap n", "swap s", "swap i", "swap f f2", "negate", "nothing", "empty"])),
    st.builds(Change, kind=st.just("width"), low=st.sampled_from([1, 4, 16])),
)  # fmt: skip


class Shop:
    """The table, and a project that reads it as `full` and as `sums`."""

    def __init__(self, world: World, url: str, table: str = "t") -> None:
        self.world, self.table = world, table
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)
        self.postgresql = self.engine.dialect.name == "postgresql"
        self.run((POSTGRESQL if self.postgresql else MARIADB).format(t=table))
        for name, scan in (("full", "full"), ("sums", "checksum")):
            options = {"url": url, "table": table}
            world.source(name, iterator="sql", options=options, scan=scan, checksum=dict(CHECKSUM), snapshots=DELTAS)
        self.partial = 0
        self._told = {"full": 0, "sums": 0}

    def run(self, statement: str, **values: Any) -> None:
        """Execute one statement and commit."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def fill(self, last: int, *, first: int = 1) -> None:
        """Rows of the keys `first` to `last`."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.text(f"INSERT INTO {self.table} (k, k2, i, n, f, s) VALUES (:k, 1, :k, :k, 0.5, 'a')"),
                [{"k": key} for key in range(first, last + 1)],
            )

    def change(self, change: Change) -> None:
        """Make one change; one that the table refuses (a key that is there, a number too large) changes nothing."""
        t, low = self.table, change.low
        span = {"low": low, "high": min(low + change.high, 2**63 - 1)}
        try:
            match change.kind:
                case "insert":
                    names = ", ".join(map(self._name, change.row or {}))
                    binds = ", ".join(f":{name}" for name in change.row or {})
                    with self.engine.begin() as connection:
                        connection.execute(
                            sa.text(f"INSERT INTO {t} (k, k2, {names}) VALUES (:k, :k2, {binds})"),
                            [{"k": key, "k2": key % 3, **(change.row or {})}
                             for key in range(span["low"], span["high"] + 1)],
                        )  # fmt: skip
                case "update" | "one":
                    sets = ", ".join(f"{self._name(name)} = :{name}" for name in change.row or {})
                    self.run(f"UPDATE {t} SET {sets} WHERE k BETWEEN :low AND :high", **span, **(change.row or {}))
                case "delete":
                    self.run(f"DELETE FROM {t} WHERE k BETWEEN :low AND :high", **span)
                case "move":
                    self.run(f"UPDATE {t} SET k = k + :by WHERE k = :low", low=low, by=change.high)
                case "negate":
                    self.run(f"UPDATE {t} SET n = -n, n2 = -n2, f = -f WHERE k < 20")
                case "empty":
                    self.run(f"DELETE FROM {t} WHERE k > 30")
                case "swap f f2":
                    # PostgreSQL takes the old value of f for f2; MariaDB has set f by then.
                    swap = "f = f2, f2 = f" if self.postgresql else "f = (@f := f) * 0 + f2, f2 = @f"
                    self.run(f"UPDATE {t} SET {swap} WHERE f IS NOT NULL AND f2 IS NOT NULL")
                case "width":
                    self.world.source("sums", checksum={**CHECKSUM, "range_rows": low})
                case swap if swap.startswith("swap"):
                    self._swap(swap.split()[1])
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise

    def _swap(self, name: str) -> None:
        """Two neighbours exchange a value."""
        with self.engine.begin() as connection:
            found = connection.execute(sa.text(f"SELECT k, k2, {name} FROM {self.table} ORDER BY k, k2 LIMIT 2")).all()
            if len(found) == 2:
                (k, k2, one), (next_k, next_k2, other) = found
                update = sa.text(f"UPDATE {self.table} SET {name} = :v WHERE k = :k AND k2 = :k2")
                connection.execute(update, [{"v": other, "k": k, "k2": k2}, {"v": one, "k": next_k, "k2": next_k2}])

    def _name(self, name: str) -> str:
        return self.engine.dialect.identifier_preparer.quote(name)

    def agree(self) -> None:
        """Scan both; what they find, their events and their states must be equal."""
        full, sums = (self.world.commit(name) for name in ("full", "sums"))
        self.partial += sums.ranges_read is not None
        for name in ("status", "rows", "inserts", "updates", "deletes"):
            assert getattr(sums, name) == getattr(full, name), (name, full, sums)
        events = {name: self._events(name) for name in self._told}
        assert events["sums"] == events["full"]
        assert self.world.state("sums") == self.world.state("full")

    def _events(self, name: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for event in self.world.project.events(name, since=self._told[name]):
            found[repr((event.op, event.key, event.before, event.after, event.changed))] += 1
            self._told[name] = event.scn
        return found

    def close(self) -> None:
        """Drop the table."""
        self.run(f"DROP TABLE IF EXISTS {self.table}")
        self.engine.dispose()


@contextmanager
def open_shop(url: str, table: str = "t") -> Iterator[Shop]:
    """A shop with a project in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="differ-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        world = World(Path(folder))
        shop = Shop(world, url, table)
        try:
            yield shop
        finally:
            world.close()
            shop.close()
