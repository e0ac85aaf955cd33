"""What hypothesis draws: schemas, and records of Python values that fit them."""

from datetime import date
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from differ.records.cells import array_of
from differ.records.names import parse_type
from differ.records.types import Column, LogicalType, Schema

FLAT = (
    "bool", "int", "float", "decimal(20,3)", "decimal(50,5)", "decimal", "string", "bytes", "date", "time",
    "time[ns]", "duration", "timestamp", "timestamp[us,UTC]", "timestamp[ns]", "uuid", "json", "null",
)  # fmt: skip
NESTED = ("list<int>", "list<string>", "struct<b:string,a:int>", "map<string,float>", "list<struct<x:list<bool>>>")
INT64 = st.integers(-(2**63), 2**63 - 1)
MOMENT = st.integers(1 - 2**63, 2**63 - 1)  # the lowest is refused: NumPy's and pandas' sign for no time
TEXT = st.text(max_size=6)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=3) | st.uuids()
    | st.dates() | st.timedeltas() | st.datetimes() | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("$oid"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def values(type_: LogicalType) -> st.SearchStrategy[Any]:  # noqa: PLR0911, PLR0912 - one branch a kind
    """Python values of a type, without None; moments as counts of their unit."""
    match type_.kind:
        case "null":
            return st.none()
        case "bool":
            return st.booleans()
        case "int":
            return INT64
        case "timestamp" | "duration":
            return MOMENT
        case "time":
            return st.integers(0, 86_400 * 10 ** (6 if type_.unit == "us" else 9) - 1)
        case "float":
            return st.floats()
        case "decimal" if type_.precision is None:
            return st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: abs(d.adjusted()) < 30)
        case "decimal":
            limit = 10**type_.precision - 1
            wide = Context(prec=100)
            return st.integers(-limit, limit).map(lambda n: Decimal(n).scaleb(-(type_.scale or 0), wide))
        case "string":
            return TEXT
        case "bytes":
            return st.binary(max_size=6)
        case "date":
            return st.dates(date(1, 1, 1))
        case "uuid":
            return st.uuids()
        case "list":
            return st.lists(nullable(type_.children[0][1]), max_size=3)
        case "struct":
            return st.fixed_dictionaries({name: nullable(child) for name, child in type_.children})
        case "map":
            (_, key), (_, value) = type_.children
            return st.dictionaries(values(key), nullable(value), max_size=3).map(lambda made: list(made.items()))
        case _:
            return JSON_VALUES.filter(lambda value: value is not None)


def nullable(type_: LogicalType) -> st.SearchStrategy[Any]:
    return st.none() | values(type_)


@st.composite
def tables(draw: st.DrawFn, names: tuple[str, ...] = FLAT + NESTED) -> tuple[Schema, list[dict[str, Any]]]:
    """A schema of a few columns and some rows of it."""
    types = [parse_type(name) for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=10))]
    columns = tuple(Column(name=f"c{index}é"[: 2 + index % 2], type=type_) for index, type_ in enumerate(types))
    schema = Schema(columns=columns)
    row = st.fixed_dictionaries({column.name: nullable(column.type) for column in columns})
    return schema, draw(st.lists(row, max_size=8))


def storage(schema: Schema, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """The rows as a storage-typed batch."""
    arrays = [_stored([row[column.name] for row in rows], column.type) for column in schema.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)


def _stored(cells: list[Any], type_: LogicalType) -> pa.Array:
    if type_.kind in ("time", "timestamp", "duration"):
        return pa.array(cells, pa.int64()).cast(type_.storage)
    return array_of(cells, type_)
