"""The one ordered procedure: begin -> scan -> compare -> guard -> write -> commit, and what ends a held cycle."""

from differ.cycle.ending import approve, reject
from differ.cycle.place import Place
from differ.cycle.procedure import Progress, run_cycles

__all__ = ["Place", "Progress", "approve", "reject", "run_cycles"]
