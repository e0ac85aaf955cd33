"""Random states of a source, the shapes they may be yielded in, and a naive model of what differ must make of them."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
from bson import json_util
from hypothesis import strategies as st

from tests.cycle.world import State, plain

KEY = ("region", "id")
TYPES = {"j": "json"}
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "n": st.sampled_from([None, 0, 1, 2, 3, -5, 2**31 - 1]),
    "s": st.sampled_from([None, "", "a", "ab", "é", "日本", "\U0001f600", "x" * 300]),
    "d": st.sampled_from([None, Decimal("0"), Decimal("1.5"), Decimal("1.50"), Decimal("-3.25"), Decimal("99999.99")]),
    "f": st.sampled_from([None, 0.0, -0.0, 1.5, -2.25, float("nan"), float("inf"), 1e300]),
    "t": st.sampled_from([None, datetime(1969, 12, 31, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)]),
    "b": st.sampled_from([None, True, False]),
}
DOCUMENTS = st.sampled_from([None, {"a": 1}, {"a": 1.5, "b": [1, "x", None]}, [1, 2], "text", {}, True])
ARROW: Mapping[str, list[pa.DataType]] = {
    "region": [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())],
    "id": [pa.int32(), pa.int64(), pa.uint8()],
    "n": [pa.int32(), pa.int64()],
    "s": [pa.string(), pa.large_string(), pa.string_view()],
    "d": [pa.decimal128(7, 2), pa.decimal128(20, 4)],
    "f": [pa.float64()],
    "t": [pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")],
    "b": [pa.bool_()],
}


def rows(*, documents: bool) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A state: up to 12 rows, keys unique."""
    columns: dict[str, st.SearchStrategy[Any]] = {
        "region": st.sampled_from(["eu", "us", "日"]),
        "id": st.integers(1, 5),
        **VALUES,
        **({"j": DOCUMENTS} if documents else {}),
    }
    return st.lists(st.fixed_dictionaries(columns), max_size=12, unique_by=lambda row: (row["region"], row["id"]))


@st.composite
def shaped(draw: st.DrawFn, state: list[dict[str, Any]]) -> list[list[Any]]:
    """The splits and batches in which an iterator might yield a state, in any order of rows and columns."""
    chosen = draw(st.permutations(state))
    names = draw(st.permutations([*KEY, *VALUES]))
    form = draw(st.sampled_from(["dicts", "record batch", "table", "frame"]))
    if state and "j" in state[0]:
        form = "dicts"
    types = pa.schema([(name, draw(st.sampled_from(ARROW[name]))) for name in names])
    batches = []
    while chosen:
        size = draw(st.integers(1, len(chosen)))
        batches.append(_batch(chosen[:size], form, types))
        chosen = chosen[size:]
    cut = draw(st.integers(0, len(batches)))
    return [batches[:cut], batches[cut:]]


def _batch(chunk: list[dict[str, Any]], form: str, types: pa.Schema) -> Any:
    if form == "dicts":
        return chunk
    # Arrow stores no negative zero in decimals and takes any Decimal that fits, so `1.5` and `1.50` are one value.
    table = pa.table(
        {f.name: pa.array([row[f.name] for row in chunk], type=_value(f.type)).cast(f.type) for f in types}
    )
    if form == "table":
        return table
    if form == "frame":
        plain_text = table.cast(
            pa.schema([(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in types])
        )
        return plain_text.to_pandas(types_mapper=pd.ArrowDtype)
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _value(type_: pa.DataType) -> pa.DataType:
    """What Python values are first made into, where pyarrow makes no arrays of the type itself."""
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def expected(state: Iterable[Mapping[str, Any]]) -> State:
    """Rows by key, values so that they compare as differ should."""
    found: State = {}
    for row in state:
        found[tuple(row[name] for name in KEY)] = {
            name: document(value) if name == "j" else plain(value) for name, value in row.items()
        }
    return found


def document(value: Any) -> str | None:
    """A document as comparable text: the order of keys within an object counts for nothing, types do."""
    return None if value is None else json.dumps(value, sort_keys=True)


def stored(state: State) -> State:
    """What a snapshot or fold gives, in the terms of `expected`."""
    shown: State = {}
    for key, row in state.items():
        values = dict(row)
        if values.get("j") is not None:
            values["j"] = document(json_util.loads(values["j"]))
        shown[key] = values
    return shown


class Model:
    """What the state must be: last emitted values, by the rules of comparison."""

    def __init__(self, ignore: Iterable[str] = (), tolerance: Mapping[str, float] | None = None) -> None:
        self.ignore, self.tolerance = set(ignore), dict(tolerance or {})
        self.state: State = {}

    def see(self, read: State) -> tuple[int, int, int]:
        """Take a scan in; returns its inserts, updates and deletes."""
        inserts = [key for key in read if key not in self.state]
        deletes = [key for key in self.state if key not in read]
        updates = [key for key in read if key in self.state and self._moved(self.state[key], read[key])]
        for key in deletes:
            del self.state[key]
        for key in (*inserts, *updates):
            self.state[key] = read[key]
        return len(inserts), len(updates), len(deletes)

    def _moved(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        for name, value in new.items():
            was = old.get(name)
            if name in self.ignore or value == was:
                continue
            if name not in self.tolerance or value is None or was is None or abs(value - was) > self.tolerance[name]:
                return True
        return False
