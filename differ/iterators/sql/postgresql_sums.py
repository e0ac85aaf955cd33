"""Checksums on PostgreSQL: a chain of its own 64-bit hash functions over the columns of a row, summed by key range.

    hashint8extended(key, ... hashtextextended(name, hash_numeric_extended(total, 0)) ...)

Each function takes the hash so far as its seed, so the hash of a row depends on all columns at once. The shorter
`hash_record_extended(row, 0)` will not do, for five reasons that each let a common change pass unseen:

- it adds up 31**i * hash(column i), and a sum over rows then adds up column by column: two rows of a range that swap a
  value (two positions, two states) leave the sum nearly or wholly as it was;
- hash_numeric forgets the sign: 19.90 and -19.90 are equal;
- hashint8, which also hashes timestamps, folds 64 bits to 32 first: 1 and 2**32 are equal;
- hash_float and hash_numeric give their seed back for a zero;
- a database's hash follows ITS equality: intervals, jsonb and texts under a nondeterministic collation.

So a type is hashed by a function only where that sees every difference that differ sees, and as its text or its binary
form (`.._send`) everywhere else. Texts are hashed under the collation "C", that is, by their bytes.

Source: PostgreSQL's access/hash/hashfunc.c, numeric.c and rowtypes.c; the functions are Bob Jenkins' lookup3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from differ.iterators.sql.fields import Field
from differ.iterators.sql.relation import Relation

# Compiling takes longer than it saves. LOCAL, and set back afterwards, so that reading rows goes as ever.
_SETTINGS = {"jit": "off"}
_KINDS = {"r": None, "p": None, "m": None, "v": "a view", "f": "a foreign table"}
_NEEDED = ("hashtextextended", "hashint8extended", "hash_numeric_extended", "hash_array_extended")


@dataclass(frozen=True, slots=True)
class _Step:
    """How one type is hashed.

    value: SQL of what is hashed, from the column {c}; NULL just where the column is. some: a value of that type, for
    NULL. hashed: SQL of the hash of {v} under the seed {h}, which must be NULL where {v} is. {n} and {m} are numbers of
    this column alone, for functions that give the seed back for a zero: without them a value could move from one column
    to the next and not be noticed.
    """

    kind: str
    value: str
    some: str
    hashed: str


_INT4 = "hashint4extended({v}, {h})"
_INT8 = "hashint8extended({v}, {h} # {v})"  # The seed takes all 64 bits, which the function itself folds to 32.
_TEXT = 'hashtextextended({v} COLLATE "C", {h})'
_SENT = "hashtextextended(encode({v}, 'hex') COLLATE \"C\", {h})"
_BYTES = "CASE WHEN {v} IS NOT NULL THEN hash_array_extended(ARRAY[{v}], {h}) END"  # An array with a NULL is none.
_NO_BYTES = "''::bytea"
_SIGNED = "{h} # CASE WHEN {v} < 0 THEN {m} ELSE {n} END"
_STEPS = {
    "boolean": _Step("bool", "{c}::int", "0", _INT4),
    "smallint": _Step("int", "{c}::int", "0", _INT4),
    "integer": _Step("int", "{c}", "0", _INT4),
    "bigint": _Step("int", "{c}", "0::bigint", _INT8),
    "oid": _Step("int", "{c}::bigint", "0::bigint", _INT8),
    "real": _Step("float", "{c}", "0::real", "hashfloat4extended({v}, {h} # {n})"),
    "double precision": _Step("float", "{c}", "0::float8", "hashfloat8extended({v}, {h} # {n})"),
    "numeric": _Step("decimal", "{c}", "0", f"hash_numeric_extended({{v}}, {_SIGNED})"),
    "text": _Step("string", "{c}", "''", _TEXT),
    "character varying": _Step("string", "{c}", "''", _TEXT),
    "name": _Step("string", "{c}::text", "''", _TEXT),
    "character": _Step("string", "{c}", "''", 'hashbpcharextended({v} COLLATE "C", {h})'),
    "bytea": _Step("bytes", "{c}", _NO_BYTES, _BYTES),
    "uuid": _Step("uuid", "{c}", "'00000000-0000-0000-0000-000000000000'::uuid", "uuid_hash_extended({v}, {h})"),
    "date": _Step("date", "({c} - date '2000-01-01')", "0", _INT4),
    "time without time zone": _Step("time", "time_send({c})", _NO_BYTES, _SENT),
    "timestamp without time zone": _Step("timestamp", "timestamp_send({c})", _NO_BYTES, _SENT),
    "timestamp with time zone": _Step("timestamp", "timestamptz_send({c})", _NO_BYTES, _SENT),
}
_OTHER = _Step("", "{c}::text", "''", _TEXT)
# Without brackets: a numeric may be NaN or an infinity, which have one hash; a character is not padded, and both its
# hash and its cast to text ignore the blanks at its end.
_UNPADDED = _Step("", "encode(bpcharsend({c}), 'escape')", "''", _TEXT)
_WITHOUT_LENGTH = {"numeric": _OTHER, "character": _UNPADDED, "bpchar": _UNPADDED}


class PostgreSQLSums:
    """The checksums of tables on PostgreSQL from version 11 on."""

    def why_not(self, connection: sa.Connection, relation: Relation) -> str | None:
        """None for tables, partitioned ones and materialized views where the hash functions are there."""
        query = sa.text(
            "SELECT c.relkind::text, (SELECT count(DISTINCT proname) FROM pg_catalog.pg_proc "
            "WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(:names)) "
            "FROM pg_catalog.pg_class c WHERE oid = CAST(:name AS regclass)"
        )
        kind, functions = connection.execute(query, {"name": relation.sql, "names": list(_NEEDED)}).one()
        if functions < len(_NEEDED):
            return "the server lacks PostgreSQL's 64-bit hash functions"
        if kind not in _KINDS or _KINDS[kind] is not None:
            return f"it is {_KINDS.get(kind) or 'no table'}, which may give other rows when it is asked twice"
        return None

    def server(self, connection: sa.Connection) -> list[str]:
        """Version and encodings."""
        names = ("server_version_num", "server_encoding", "client_encoding")
        return [str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names]

    def prepare(self, connection: sa.Connection) -> None:
        """now() is that of the transaction: a `where` with it means the same for sums and rows."""

    def begin(self, connection: sa.Connection) -> None:
        """A savepoint, because a statement that fails would end the transaction and with it the snapshot."""
        connection.exec_driver_sql("SAVEPOINT differ_sums")
        for name, value in _SETTINGS.items():
            connection.exec_driver_sql(f"SET LOCAL {name} = {value}")

    def end(self, connection: sa.Connection, *, failed: bool) -> None:
        """Back to the savepoint where it failed; else on, and keep the lock that keeps the table as it is."""
        if connection.invalidated:
            return
        if failed:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT differ_sums")
            return
        connection.exec_driver_sql("RELEASE SAVEPOINT differ_sums")
        for name in _SETTINGS:
            connection.exec_driver_sql(f"SET LOCAL {name} TO DEFAULT")

    def range_id(self, key: str, shift: int) -> str:
        """An arithmetic shift, which rounds down."""
        return f"({key}::bigint >> {shift})"

    def select(self, relation: Relation, columns: Sequence[tuple[str, Field]], key: str, shift: int) -> str:
        """The sum of the hashes, exact in 128 bits on the server.

        The OFFSET keeps the two levels apart. So only range and hash of a row are handed to the grouping, not all its
        columns; and the planner, which cannot know how many ranges there will be, does not take each row for one, and
        groups by hash, in parallel where that pays. It must be a constant of its type, or the scan is not parallel.
        """
        hashes = f"{self.range_id(key, shift)} AS differ_range, {self._row_hash(columns, key)} AS differ_hash"
        rows = f"({relation.select(hashes)} OFFSET '0'::bigint) AS differ_rows"
        return f"SELECT differ_range, count(*), sum(differ_hash) FROM {rows} GROUP BY 1"  # noqa: S608

    def _row_hash(self, columns: Sequence[tuple[str, Field]], key: str) -> str:
        """A chain over the columns.

        The functions are strict, so the quick chain is NULL where a column is; such a row is hashed by a slower chain,
        which takes some value for each NULL, under a seed that is changed. The key comes last in both, for only what
        was mixed after all else may be added up.
        """
        quick = whole = "0::bigint"
        for number, (column, field) in enumerate(columns, start=1):
            if column == key:
                continue
            step = _step(field)
            value = step.value.format(c=column)
            marks = {"n": _mark(number, "value"), "m": _mark(number, "negative")}
            quick = step.hashed.format(v=value, h=quick, **marks)
            seed = f"({whole} # CASE WHEN {column} IS NULL THEN {_mark(number, 'null')} ELSE 0::bigint END)"
            whole = step.hashed.format(v=f"coalesce({value}, {step.some})", h=seed, **marks)
        quick, whole = (_INT8.format(v=f"{key}::bigint", h=chain) for chain in (quick, whole))
        return f"coalesce({quick}, {whole})"


def _mark(number: int, what: str) -> str:
    """SQL of 64 bits that no other column, and no other use in it, has."""
    digest = hashlib.sha256(f"{number} {what}".encode()).digest()
    return f"'{int.from_bytes(digest[:8], signed=True)}'::bigint"


def _step(field: Field) -> _Step:
    """How a column is hashed. What is not read as what it is declared (`as_text`) is hashed as its text."""
    declared = field.column.declared or ""
    bare = re.sub(r"\(.*?\)", "", declared)
    if bare == declared and bare in _WITHOUT_LENGTH:
        return _WITHOUT_LENGTH[bare]
    step = _STEPS.get(bare, _OTHER)
    return step if step.kind == field.column.type.kind else _OTHER
