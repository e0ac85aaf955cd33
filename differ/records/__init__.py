"""Logical types, canonical bytes and fingerprints: what makes two records the same record."""
