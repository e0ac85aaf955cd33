"""The small transactional database that says what is committed."""

from differ.catalog.catalog import Catalog
from differ.catalog.entries import CycleEntry, SegmentEntry, SourceEntry, StreamEntry, WindowEntry

__all__ = ["Catalog", "CycleEntry", "SegmentEntry", "SourceEntry", "StreamEntry", "WindowEntry"]
