"""The normal form of decimal texts, in which 1.0, 1.00 and 1E0 are one number.

An unconstrained NUMERIC has no scale to pin, so such a column is kept as text and compared and hashed in this form:

    zero                                        0
    up to 80 digits before or after the point   plain, no trailing zeros after the point: -12.5, 1200, 0.003
    anything longer                             coefficient without trailing zeros, E, signed exponent: 1E+90
    not finite                                  NaN, Infinity, -Infinity

Invariant: two texts have the same normal form exactly when they are the same number (every NaN is one).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from differ.errors import RecordError

_PLAIN_DIGITS_MAX = 80
_NORMAL = r"^(0|-?[1-9][0-9]*(\.[0-9]*[1-9])?|-?0\.[0-9]*[1-9])$"


def normal_text(text: str) -> str:
    """The normal form of one decimal text. Raises RecordError for what is no number."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise RecordError(f"{text[:60]!r} is no decimal number") from None
    return normal_decimal(number)


def normal_decimal(number: Decimal) -> str:
    """The normal form of a Python Decimal, exact whatever the decimal context."""
    sign, digit_tuple, exponent = number.as_tuple()
    if exponent in ("n", "N"):
        return "NaN"
    minus = "-" if sign else ""
    if not isinstance(exponent, int):
        return f"{minus}Infinity"
    digits = "".join(map(str, digit_tuple))
    stripped = digits.rstrip("0")
    if not stripped.lstrip("0"):
        return "0"
    exponent += len(digits) - len(stripped)
    digits = stripped.lstrip("0")
    if exponent >= 0 and len(digits) + exponent <= _PLAIN_DIGITS_MAX:
        return minus + digits + "0" * exponent
    if -_PLAIN_DIGITS_MAX <= exponent < 0 and len(digits) + exponent <= _PLAIN_DIGITS_MAX:
        padded = digits.rjust(1 - exponent, "0")
        return f"{minus}{padded[:exponent]}.{padded[exponent:]}"
    return f"{minus}{digits}E{exponent:+d}"


def normal_texts(texts: pa.StringArray) -> pa.StringArray:
    """The normal form of each text; nulls stay. Vectorised for texts already normal, Python for the others.

    Raises RecordError for what is no number.
    """
    # A text this short that matches is what normal_decimal would write.
    short = pc.less_equal(pc.binary_length(texts), _PLAIN_DIGITS_MAX)
    normal = pc.and_(short, pc.match_substring_regex(texts, _NORMAL))
    others = pc.invert(pc.fill_null(normal, True))
    if not pc.any(others).as_py():
        return texts
    replaced = [normal_text(text) for text in texts.filter(others).to_pylist()]
    return pc.replace_with_mask(texts, others, pa.array(replaced, pa.string()))
