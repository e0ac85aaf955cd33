"""A place in the stream that cannot be mistaken for one in another: what clients send back to resume.

    <stream id>.<scn>.<chain>.<floors>        6f0c...-...  .  42  .  0123456789abcdef0123456789abcdef  .  3

chain: the first 32 hex digits of the running hash after the window that holds the SCN, so that a restored backup that
hands out old SCNs again is noticed. floors: the number of the floor that was raised last when the cursor was made, so
that a source that began a new base without events is noticed even when no SCN has passed since.

Clients in other languages take it as opaque text. Invariant: `Cursor.parse(cursor.text) == cursor`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from differ.errors import UsageError

CHAIN_DIGITS = 32
GENESIS_CHAIN = "0" * CHAIN_DIGITS
SCN_MAX = 2**63 - 1
_TEXT = re.compile(
    rf"(?P<stream>[0-9a-f]{{8}}-[0-9a-f-]{{27}})\.(?P<scn>0|[1-9][0-9]{{0,18}})\."
    rf"(?P<chain>[0-9a-f]{{{CHAIN_DIGITS}}})\.(?P<floors>0|[1-9][0-9]{{0,15}})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Stream id, the last SCN looked through, the chain there, and the number of the floor raised last."""

    stream: str
    scn: int
    chain: str
    floors: int

    @property
    def text(self) -> str:
        """The opaque text; safe in a URL."""
        return f"{self.stream}.{self.scn}.{self.chain}.{self.floors}"

    def at(self, scn: int) -> Cursor:
        """The cursor at another SCN of the same window."""
        return replace(self, scn=scn)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read `text`; raises UsageError when it is no cursor."""
        found = _TEXT.fullmatch(text)
        if found is None or int(found["scn"]) > SCN_MAX:
            raise UsageError(
                f"read cursor {text[:80]!r}: it is none", hint="send back what 'Differ-Cursor' gave, unchanged"
            )
        return cls(stream=found["stream"], scn=int(found["scn"]), chain=found["chain"], floors=int(found["floors"]))
