"""The complete state of a source as of one committed cycle: Parquet parts, a fingerprint index, a manifest."""
