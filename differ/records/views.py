"""Arrow arrays as NumPy, by their buffers.

pyarrow's own `to_numpy` gives the same, but imports pandas at its first call, whatever the array is: 0.4 s and 60 MiB
for nothing, where nobody wants pandas. Layouts: the Arrow columnar format, "Physical memory layout".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def literal(text: str) -> pa.StringScalar:
    """A text for a function of `pyarrow.compute`, which infers the type of a Python text, by way of pandas."""
    return pa.scalar(text, pa.string())


def fixed_values(array: pa.Array) -> npt.NDArray[Any]:
    """The integers or doubles of an array as a read-only view; what stands at nulls is undefined. No copy."""
    dtype = np.dtype(
        {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(array.type), str(array.type))
    )
    if len(array) == 0:
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=array.offset * dtype.itemsize)


def flags(array: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    """The values of a boolean array, one byte each; what stands at nulls is undefined."""
    if len(array) == 0:
        return np.empty(0, np.bool_)
    first = array.offset // 8
    bits = np.frombuffer(array.buffers()[1], np.uint8)[first : (array.offset + len(array) + 7) // 8]
    return np.unpackbits(bits, bitorder="little")[array.offset % 8 :][: len(array)].view(np.bool_)
