"""The built-in `mongodb` iterator: a collection, or what an aggregation pipeline makes of one, every BSON type kept."""

from differ.iterators.mongodb.plugin import mongodb

__all__ = ["mongodb"]
