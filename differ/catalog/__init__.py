"""The small transactional database that says what is committed."""

from differ.catalog.catalog import Catalog
from differ.catalog.entries import CycleEntry, SegmentEntry, SourceEntry, StreamEntry, WindowEntry
from differ.catalog.standing import Behind, Floor, Standing
from differ.catalog.totals import SourceTotals

__all__ = [
    "Behind",
    "Catalog",
    "CycleEntry",
    "Floor",
    "SegmentEntry",
    "SourceEntry",
    "SourceTotals",
    "Standing",
    "StreamEntry",
    "WindowEntry",
]
