"""The HTTP face of a project: stream, sources, consumers, bootstrap, operate, health (docs/http.md)."""
