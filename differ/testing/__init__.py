"""What plugin authors import: the conformance suite of iterators, as a call and as a class for pytest."""

from differ.testing.conformance import check_iterator
from differ.testing.report import Check, Report
from differ.testing.suite import IteratorConformance

__all__ = ["Check", "IteratorConformance", "Report", "check_iterator"]
