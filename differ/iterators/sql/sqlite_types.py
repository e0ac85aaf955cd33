"""The type of a SQLite column: what is declared, where all its values agree; else what is exact.

| declared (contains)        | holds, nulls aside                        | becomes                    |
|----------------------------|-------------------------------------------|----------------------------|
| INT                        | integers                                  | int64                      |
| BOOL                       | integers 0 and 1 (else integers: int64)   | bool                       |
| REAL, FLOA, DOUB           | reals                                     | float64                    |
| CHAR, CLOB, TEXT           | texts                                     | string                     |
| BLOB                       | blobs                                     | bytes                      |
| DECIMAL(p,s), NUMERIC(p,s) | integers, reals that are p,s decimals     | decimal(p,s)               |
| DECIMAL, NUMERIC, the rest | integers, reals                           | decimal, unconstrained     |
| DATE                       | texts YYYY-MM-DD                          | date                       |
| DATETIME, TIMESTAMP        | texts YYYY-MM-DD HH:MM:SS[.ffffff], or T  | timestamp[us]              |
| JSON                       | texts of valid JSON, integers, reals      | json                       |
| nothing or another name    | one kind of value                         | int64, float64, string, bytes |
| any                        | no value at all                           | what is declared (null where nothing is) |
| any                        | anything else                             | json, each value with its kind |

Columns of the key are never read as date, timestamp or JSON: two texts can mean one time. Invariant: equal results
mean equal values, but for the zeros at the end of a fraction of a second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from differ.iterators.sql.fields import (
    PARAMETER,
    Convert,
    Field,
    from_text,
    integers_to_bools,
    plain,
    unconstrained,
)  # fmt: skip
from differ.records.json_values import canonical_text, json_text_canonical
from differ.records.types import JSON, NULL, Column, LogicalType

INT = LogicalType(kind="int", bits=64)
FLOAT = LogicalType(kind="float", bits=64)
STRING = LogicalType(kind="string")
BYTES = LogicalType(kind="bytes")
BOOL = LogicalType(kind="bool")
DATE = LogicalType(kind="date")
TIMESTAMP = LogicalType(kind="timestamp", unit="us")
DECIMAL = LogicalType(kind="decimal")

EXACT_DIGITS = 15
"""A double is the nearest one to a decimal of so many digits, and gives the same decimal back."""

_SCALED = re.compile(r"(?:DECIMAL|NUMERIC|DEC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_CLOCK = "[0-9][0-9]:[0-9][0-9]:[0-9][0-9]"


@dataclass(frozen=True, slots=True)
class Held:
    """How many values of each kind a column holds, and how many have the form that its declaration asks for.

    Nulls are in none of them. `formed_too` counts those of a second form, which must not be mixed with the first.
    """

    integers: int
    reals: int
    texts: int
    blobs: int
    formed: int
    formed_too: int

    @property
    def total(self) -> int:
        """How many values are not null."""
        return int(self.integers + self.reals + self.texts + self.blobs)

    @property
    def numbers(self) -> int:
        """How many values are integers or reals."""
        return int(self.integers + self.reals)


def questions(column: str, declared: str) -> list[str]:
    """The aggregates, in the order of `Held`, over a quoted column of this declared type."""
    kind = f"typeof({column})"
    form, second = _forms(column, wished(declared))
    counts = [f"{kind}='{name}'" for name in ("integer", "real", "text", "blob")]
    return [
        f"CAST(total({condition}) AS INTEGER)" if condition != "0" else "0" for condition in (*counts, form, second)
    ]


def wished(declared: str) -> LogicalType | None:
    """The type that a declaration asks for, or None where it asks for none in particular.

    As SQLite's affinity rules, in their order; what they put under NUMERIC is looked at by name.
    """
    name = declared.upper()
    if "INT" in name and "POINT" not in name:
        return INT
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return STRING
    if "BLOB" in name:
        return BYTES
    if any(part in name for part in ("REAL", "FLOA", "DOUB")):
        return FLOAT
    scaled = _SCALED.fullmatch(name.strip())
    if scaled:
        precision, scale = int(scaled[1]), int(scaled[2] or 0)
        if scale <= precision <= 38:
            return LogicalType(kind="decimal", precision=precision, scale=scale)
    named = {"DATE": DATE, "DATETIME": TIMESTAMP, "TIMESTAMP": TIMESTAMP, "JSON": JSON, "BOOL": BOOL, "BOOLEAN": BOOL}
    base = re.split(r"[\s(]", name.strip())[0]
    return named.get(base) or (DECIMAL if base in ("DECIMAL", "NUMERIC", "DEC", "NUMBER") else None)


def _forms(column: str, type_: LogicalType | None) -> tuple[str, str]:
    """Conditions that are true for a value of the form; the second one for a form of its own."""
    text = f"typeof({column})='text'"
    # A shift by nothing makes SQLite look at the calendar; substr() keeps the column's affinity out of the comparison.
    day = f"date(substr({column},1,10),'+0 days')=substr({column},1,10) AND substr({column},1,4)>='0001'"
    match type_:
        case LogicalType(kind="bool"):
            return f"typeof({column})='integer' AND {column} IN (0,1)", "0"
        case LogicalType(kind="date"):
            return f"{text} AND {column} GLOB '{_DAY}' AND {day}", "0"
        case LogicalType(kind="timestamp"):
            spaced, teed = (_moment(column, separator) for separator in " T")
            return f"{text} AND {day} AND {spaced}", f"{text} AND {day} AND {teed}"
        case LogicalType(kind="json"):
            return f"CASE WHEN {text} THEN json_valid({column}) ELSE typeof({column}) IN ('integer','real') END", "0"
        case LogicalType(kind="decimal", precision=int(precision), scale=int(scale)):
            whole = _below(column, precision - scale)
            exact = f"{_below(column, min(precision, EXACT_DIGITS) - scale)} AND round({column},{scale})={column}"
            return f"CASE typeof({column}) WHEN 'integer' THEN {whole} WHEN 'real' THEN {exact} END", "0"
        case _:
            return "0", "0"


def _moment(column: str, separator: str) -> str:
    shape = f"{_DAY}{separator}{_CLOCK}"
    clock = f"substr({column},12,8)<'24' AND time(substr({column},12,8))=substr({column},12,8)"
    digits = f"length({column})<=26 AND substr({column},21) NOT GLOB '*[^0-9]*'"
    return f"({column} GLOB '{shape}' OR ({column} GLOB '{shape}.[0-9]*' AND {digits})) AND {clock}"


def _below(column: str, digits: int) -> str:
    if digits <= 0:
        return f"{column}=0"
    # Beyond 18 digits every integer of SQLite has place.
    return f"({column}>-{10**digits} AND {column}<{10**digits})" if digits <= 18 else "1"


def type_of(declared: str, held: Held, is_key: bool) -> LogicalType:
    """The type in which every value that is held has its exact place; see the table above."""
    wish = wished(declared)
    if held.total == 0:
        return wish or NULL
    if wish is not None and _suits(wish, held) and not (is_key and wish.kind in ("date", "timestamp", "json")):
        return wish
    if wish is not None and wish.kind in ("int", "float", "string", "bytes"):
        return JSON
    return _single(wish, held)


def _suits(wish: LogicalType, held: Held) -> bool:
    match wish.kind:
        case "int":
            return held.integers == held.total
        case "float":
            return held.reals == held.total
        case "string":
            return held.texts == held.total
        case "bytes":
            return held.blobs == held.total
        case "decimal" if wish.precision is None:
            return held.numbers == held.total
        case _:
            return held.total in (held.formed, held.formed_too)


def _single(wish: LogicalType | None, held: Held) -> LogicalType:
    if held.texts == held.total:
        return STRING
    if held.blobs == held.total:
        return BYTES
    if held.numbers == held.total and wish is not None and wish.kind == "decimal":
        return DECIMAL
    if held.integers == held.total:
        return INT
    if held.reals == held.total:
        return FLOAT
    return DECIMAL if held.numbers == held.total else JSON


def field_for(name: str, declared: str, column: str, held: Held, is_key: bool, as_text: bool) -> Field:
    """The field of one column; `column` is its quoted name."""
    type_ = STRING if as_text else type_of(declared, held, is_key)
    parsed = type_.kind == "json" and wished(declared) == JSON and held.formed == held.total
    expression = f"CAST({column} AS TEXT)" if as_text else column
    return Field(
        column=Column(name=name, type=type_, declared=declared or None),
        expression=f"{expression} AS {column}",
        convert=_mixed(parsed) if type_.kind == "json" else _convert(type_),
        match=f"{expression} = {PARAMETER}",
        bind=_bind,
    )


def _convert(type_: LogicalType) -> Convert:
    match type_.kind:
        case "bool":
            return integers_to_bools
        case "decimal" if type_.precision is None:
            return unconstrained
        case "decimal":
            parse = from_text(type_)
            return lambda values: parse([None if value is None else repr(value) for value in values])
        case "date" | "timestamp":
            return from_text(type_)
        case _:
            return plain(type_)


def _mixed(parsed: bool) -> Convert:
    """Values of several kinds, each tagged with its own; texts are JSON themselves where `parsed`."""

    def convert(values: Sequence[Any]) -> pa.Array:
        return pa.array([None if value is None else text_of(value) for value in values], pa.string())

    def text_of(value: Any) -> str:
        return json_text_canonical(value) if parsed and isinstance(value, str) else canonical_text(value)

    return convert


def _bind(value: Any) -> Any:
    """SQLite has no decimals: a text that looks like a number is one where the column's affinity is numeric."""
    return str(value) if isinstance(value, Decimal) else value
