"""Stable partitions of the key space: hash % count, the same for a key for all time and in every language.

    1/4        the second of four
    0,4-7/256  five of 256

The hash is `records.keytext.partition_hashes`, stored with each event. Invariant: for one count, every event is in
exactly one partition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from differ.errors import UsageError
from differ.formats.batch import EventBatch
from differ.records.views import fixed_values

VIRTUAL = 256
"""Into how many partitions a consumer group's key space is cut."""
COUNT_MAX = 65_536
_TEXT = re.compile(
    r"(?P<chosen>[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*)/(?P<count>[0-9]{1,5})", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions:
    """Some of `count` partitions, 0-based and ascending."""

    count: int
    chosen: tuple[int, ...]

    @property
    def text(self) -> str:
        """The shortest text that `parse` reads back, runs as ranges."""
        runs: list[list[int]] = []
        for number in self.chosen:
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        shown = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
        return f"{shown}/{self.count}"

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return len(self.chosen) == self.count

    @classmethod
    def parse(cls, text: str) -> Partitions:
        """Read `i/n`, also with lists and ranges of i; raises UsageError for what makes no sense."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise _senseless(text, "it is not of the form i/n")
        count = int(found["count"])
        if not 1 <= count <= COUNT_MAX:
            raise _senseless(text, f"n is 1 to {COUNT_MAX}")
        chosen: set[int] = set()
        for part in found["chosen"].split(","):
            first, _, last = part.partition("-")
            if int(last or first) < int(first):
                raise _senseless(text, f"the range {part} ends before it begins")
            if int(last or first) >= count:
                raise _senseless(text, f"there is no partition {last or first} of {count}; they are counted from 0")
            chosen.update(range(int(first), int(last or first) + 1))
        return cls(count=count, chosen=tuple(sorted(chosen)))

    def mask(self, batch: EventBatch) -> npt.NDArray[np.bool_]:
        """Which events of the batch belong here. Vectorised."""
        found: npt.NDArray[Any] = fixed_values(batch.events.column("partition")) % np.uint64(self.count)
        wanted = np.zeros(self.count, dtype=np.bool_)
        wanted[list(self.chosen)] = True
        mask: npt.NDArray[np.bool_] = wanted[found]
        return mask


def _senseless(text: str, why: str) -> UsageError:
    return UsageError(f"partition {text[:80]!r}: {why}", hint="such as partition=0/4, the first of four")
