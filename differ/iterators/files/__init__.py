"""The built-in `files` iterator: Parquet, CSV and JSON Lines, one file or many, local or behind fsspec."""

from differ.iterators.files.plugin import files

__all__ = ["files"]
