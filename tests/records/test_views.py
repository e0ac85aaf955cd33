"""NumPy views of Arrow arrays are what pyarrow's own conversion gives, wherever in its buffers an array begins."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from differ.records.views import fixed_values, flags

TYPES = {
    "int32": st.integers(-(2**31), 2**31 - 1), "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1), "float": st.floats(width=32), "double": st.floats(),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
def test_numbers(name: str, data: st.DataObject) -> None:
    whole = pa.array(data.draw(st.lists(TYPES[name])), pa.type_for_alias(name))
    start = data.draw(st.integers(0, len(whole)))
    array = whole.slice(start, data.draw(st.integers(0, len(whole) - start)))
    expected = array.to_numpy()
    found = fixed_values(array)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


@given(values=st.lists(st.booleans(), max_size=40), data=st.data())
def test_flags(values: list[bool], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(start, len(values)))
    found = flags(pa.array(values, pa.bool_()).slice(start, end - start))
    assert found.dtype == np.bool_
    assert found.tolist() == values[start:end]
