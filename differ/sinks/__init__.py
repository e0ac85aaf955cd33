"""Sinks: consumers that write a destination store, batched, mapped and kept in step with the sources."""
