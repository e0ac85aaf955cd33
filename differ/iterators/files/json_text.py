"""Parse one line of a JSON Lines file: an object, every number exact, no name twice.

    1                   int of any size
    1.5  1e3  0.10      float, where the double's shortest text is the same number
    0.1000000000000000055  1e400    Decimal, where a double would be another number
    NaN  Infinity       an error: it is not JSON

Invariant: no two different JSON numbers become one value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from differ.errors import RecordError
from differ.iterators.files.byte_lines import byte_lines
from differ.iterators.files.place import Place, reading
from differ.records.json_values import too_deep

Pairs = list[tuple[str, Any]]


def objects(
    place: Place, make: Callable[[Pairs], Any], parse_float: Callable[[str], Any]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with their line numbers, from 1; lines of white space are skipped.

    make: what becomes of the pairs of each object, also of embedded ones, innermost first. Raises RecordError naming
    file and line, never what stands there.
    """
    with place.open_text() as stream:
        lines = byte_lines(stream)
        number = 0
        while True:
            try:
                with reading(place):
                    line = next(lines, None)
            except RecordError as error:
                raise bad_line(place, number + 1, error.message) from None
            if line is None:
                return
            number += 1
            if line.isspace():
                continue
            try:
                value = json.loads(
                    line.decode(), parse_float=parse_float, parse_constant=_refuse, object_pairs_hook=make
                )
            except RecordError as error:
                raise bad_line(place, number, error.message) from None
            except UnicodeDecodeError:
                raise bad_line(place, number, "it is not UTF-8") from None
            except json.JSONDecodeError as error:
                raise bad_line(place, number, f"it is not JSON: {error.msg} at character {error.colno}") from None
            except RecursionError:
                raise bad_line(place, number, too_deep().message) from None
            except (ValueError, TypeError, KeyError, ArithmeticError) as error:
                raise bad_line(place, number, f"it cannot be read ({type(error).__name__})") from None
            if not isinstance(value, dict):
                raise bad_line(place, number, f"it is no object but {type(value).__name__}")
            yield number, value


def exact_number(text: str) -> float | Decimal:
    """A JSON number with fraction or exponent as a double where that is the same number, else as a Decimal."""
    double = float(text)
    shortest = repr(double)
    return double if shortest == text or Decimal(shortest) == Decimal(text) else Decimal(text)


def unique(pairs: Pairs) -> dict[str, Any]:
    """The pairs as a dict. Raises RecordError where a name is there twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise RecordError(f"the name {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return made


def bad_line(place: Place, number: int, cause: str) -> RecordError:
    """The error for one line."""
    return RecordError(f"read {place.name}: line {number}: {cause}", hint="each line must be one JSON object")


def _refuse(constant: str) -> Any:
    raise RecordError(f"{constant} is not JSON")
