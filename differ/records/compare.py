"""Two columns of one type, value by value: which differ, and which differ by more than a tolerance.

Invariant: `differs` is False exactly where the canonical bytes of both values are equal.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from differ.records.decimals import normal_texts
from differ.records.nested import nested_texts
from differ.records.numbers import EXACT
from differ.records.types import LogicalType
from differ.records.values import python_column
from differ.records.views import fixed_values, flags

Flags = npt.NDArray[np.bool_]


def differs(a: pa.Array, b: pa.Array, type_: LogicalType) -> Flags:
    """Where two storage arrays of N values differ: null equals null, NaN NaN, -0.0 equals 0.0, 1.0 equals 1.00.

    Vectorised but for nested types. a, b: of `type_.storage` and one length.
    """
    if type_.kind == "null" or len(a) == 0:
        return np.zeros(len(a), np.bool_)
    a, b = _comparable(a, type_), _comparable(b, type_)
    unequal: Flags = _flags(pc.fill_null(pc.not_equal(a, b), False))
    if type_.kind == "float":
        unequal = unequal & ~(_flags(pc.fill_null(pc.is_nan(a), False)) & _flags(pc.fill_null(pc.is_nan(b), False)))
    missing: Flags = _flags(a.is_null()) != _flags(b.is_null())
    either: Flags = np.logical_or(unequal, missing)
    return either


def beyond(a: pa.Array, b: pa.Array, type_: LogicalType, tolerance: Decimal | float) -> Flags:
    """Where two numeric arrays differ by more than the absolute `tolerance`; a null beside a value always does.

    Ints and decimals are compared exactly, in decimal arithmetic: 0.001 means the decimal 0.001. Any other type has no
    distance, so its values are beyond where they differ. Vectorised for floats; Python for the values that differ.
    """
    unequal = differs(a, b, type_)
    if type_.kind not in ("int", "float", "decimal") or not unequal.any():
        return unequal
    rows = np.flatnonzero(unequal)
    indices = pa.array(rows)
    one, other = a.take(indices), b.take(indices)
    far = _far_floats(one, other, tolerance) if type_.kind == "float" else _far_exact(one, other, type_, tolerance)
    unequal[rows] = far
    return unequal


def _flags(array: pa.BooleanArray) -> Flags:
    return flags(array)


def _comparable(array: pa.Array, type_: LogicalType) -> pa.Array:
    """An array whose values Arrow compares as canonical bytes would."""
    if type_.kind == "decimal" and type_.precision is None:
        return normal_texts(array)
    return nested_texts(array, type_) if type_.kind in ("list", "map", "struct") else array


def _far_floats(a: pa.Array, b: pa.Array, tolerance: Decimal | float) -> Flags:
    missing = _flags(a.is_null()) | _flags(b.is_null())
    one = fixed_values(pc.fill_null(a, 0.0))
    other = fixed_values(pc.fill_null(b, 0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(one - other) <= float(tolerance)
    # A comparison with NaN, and one of infinities of both signs, is never near.
    far: Flags = np.logical_or(missing, ~near)
    return far


def _far_exact(a: pa.Array, b: pa.Array, type_: LogicalType, tolerance: Decimal | float) -> Flags:
    limit = Decimal(str(tolerance))
    pairs = zip(python_column(a, type_), python_column(b, type_), strict=True)
    return np.array([_far(one, other, limit) for one, other in pairs], np.bool_)


def _far(a: Any, b: Any, limit: Decimal) -> bool:
    if a is None or b is None:
        return True
    one, other = Decimal(a), Decimal(b)
    if not (one.is_finite() and other.is_finite()):
        return True
    return abs(EXACT.subtract(one, other)) > limit
