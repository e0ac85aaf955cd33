"""The durable, SCN-indexed buffer of events."""
