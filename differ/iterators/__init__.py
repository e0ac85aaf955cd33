"""The iterator contract, the discovery of plugins, and the built-in SQL, MongoDB and file iterators."""

from differ.iterators.contract import Batch, Context, IteratorSpec, Reader, iterator

__all__ = ["Batch", "Context", "IteratorSpec", "Reader", "iterator"]
