"""Any flipped bit of a checked object is found, or leaves it as it was."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from differ.formats import checked

BODIES = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=6) | st.none(), min_size=1).filter(
    lambda body: "check" not in body
)


def line(body: Mapping[str, Any]) -> bytes:
    return checked.write(json.dumps(body).encode() + b"\n")


@given(BODIES)
def test_what_is_written_is_read(body: dict[str, Any]) -> None:
    assert checked.read(line(body)) == body == checked.read(json.dumps(body).encode())


@given(BODIES, st.data())
def test_a_flipped_bit_is_never_read_as_something_else(body: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(line(body))
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = checked.read(bytes(text))
    except ValueError:
        return
    assert {name: found.get(name) for name in body} == body
    assert len(found) == len(body) + 1  # The checksum's own name is damaged: nothing else is.


@given(BODIES, st.data())
def test_a_torn_line_is_told_from_one_whose_end_is_damaged(body: dict[str, Any], data: st.DataObject) -> None:
    whole = line(body)
    assert not checked.is_torn(whole)
    assert checked.is_torn(whole[: data.draw(st.integers(1, len(whole) - 1))])
    assert not checked.is_torn(whole[:-1] + bytes([whole[-1] ^ (1 << data.draw(st.integers(0, 7)))]))
