"""One number as a value of another numeric type: the equal one, or none.

Invariant: exact_number(v, t) is None or equal to v.
"""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation

from differ.records.decimals import normal_decimal
from differ.records.types import LogicalType

_INT64 = 2**63
EXACT = Context(prec=20_000, Emin=-999_999, Emax=999_999, traps=[Inexact, InvalidOperation])
"""Wide enough for any decimal256, any double and PostgreSQL's longest NUMERIC; rounding is an error, not an answer."""


def exact_number(value: int | float | Decimal, type_: LogicalType) -> int | float | Decimal | str | None:
    """The equal of `value` in the storage of a numeric type (a text for an unconstrained decimal), None if none.

    NaN and the infinities have equals in floats and unconstrained decimals. Cost: Python's exact decimal arithmetic.
    """
    number = Decimal(value)
    if type_.kind == "float":
        return _double(number)
    if type_.precision is None and type_.kind == "decimal":
        return normal_decimal(number)
    if not number.is_finite():
        return None
    if type_.kind == "int":
        return int(number) if number == number.to_integral_value() and -_INT64 <= number < _INT64 else None
    return _scaled(number, type_)


def _double(number: Decimal) -> float | None:
    if number.is_nan():
        return float("nan")
    try:
        double = float(number)
    except OverflowError:
        return None
    return double if Decimal(double) == number else None


def _scaled(number: Decimal, type_: LogicalType) -> Decimal | None:
    precision, scale = type_.precision or 0, type_.scale or 0
    try:
        scaled = number.quantize(Decimal(1).scaleb(-scale), context=EXACT)
    except (Inexact, InvalidOperation):
        return None
    digits_max = 38 if precision <= 38 else 76
    return scaled if len(scaled.as_tuple().digits) <= digits_max else None
