"""The indices of one sink on a search server: an alias for each source, a fresh index behind it for each generation.

    orders (alias) -> orders-3f2a9c0d41be      _meta.differ: {sink, source, stream, generation}

Writing goes through the alias; a bootstrap loads the next index beside it, and the alias moves in one step. Versions
are SCNs, which mean nothing in another stream, so an index belongs to one stream for ever.

Invariant: an index or alias that this sink did not make is never written, moved or removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from differ.errors import SinkError
from differ.sinks.contract import Generation
from differ.sinks.places import place

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


class SearchIndices:
    """Finds, makes, switches and removes indices; the caller maps the client's errors."""

    def __init__(
        self,
        client: Elasticsearch,
        sink: str,
        pattern: str,
        *,
        mappings: Mapping[str, Any],
        settings: Mapping[str, Any],
    ) -> None:
        self._client, self._sink, self._pattern = client, sink, pattern
        self._mappings, self._settings = dict(mappings), dict(settings)
        self._streams: dict[str, str] = {}

    def alias(self, source: str) -> str:
        """What a source's documents are found under."""
        return place(self._pattern, source)

    def forget(self) -> None:
        """Look at the server again before the next write."""
        self._streams.clear()

    def ready(self, source: str, stream: str, *, known: bool) -> str:
        """The alias of a source, made with an index of its own where there is none.

        known: there was one. Raises SinkError where it is gone then, is not this sink's, or belongs to another stream:
        its versions are of that one.
        """
        if source not in self._streams:
            behind = self._behind(self.alias(source))
            if not behind and known:
                raise self.gone(source)
            if not behind:
                self._make(self._name(source, stream), source, stream, None, aliases={self.alias(source): {}})
            self._streams[source] = next((about["stream"] for about, _ in behind.values()), stream)
        if self._streams[source] != stream:
            raise SinkError(
                f"sink {self._sink}: {self.alias(source)} holds stream {self._streams[source]}, and the event is of "
                f"stream {stream}", hint=f"run 'differ consumers reset sink.{self._sink}', so that it bootstraps",
            )  # fmt: skip
        return self.alias(source)

    def gone(self, source: str) -> SinkError:
        """The error of an index that somebody removed."""
        return SinkError(
            f"sink {self._sink}: the index of {source} is gone, and what was in it",
            hint=f"run 'differ consumers reset sink.{self._sink}', so that it bootstraps",
        )

    def stage(self, generation: Generation) -> dict[str, str]:
        """The names of the indices that a generation is loaded into, by source."""
        return {source: self._name(source, generation.id) for source in generation.sources}

    def begin(self, generation: Generation, staging: Mapping[str, str]) -> None:
        """Make these indices, empty."""
        for source, index in staging.items():
            if index not in self._behind(self.alias(source)):
                self._client.indices.delete(index=index, ignore_unavailable=True)
                self._make(index, source, generation.stream, generation.id)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of the indices that are not there."""
        return [name for name in names if not self._client.indices.exists(index=name)]

    def switch(self, staging: Mapping[str, str]) -> None:
        """Move every alias to its loaded index in one step, with whatever other aliases the old one had."""
        actions: list[dict[str, Any]] = []
        for source, index in staging.items():
            self._client.indices.refresh(index=index)
            alias = self.alias(source)
            actions.append({"add": {"index": index, "alias": alias}})
            for old, (_, aliases) in self._behind(alias).items():
                if old == index:
                    continue
                for name, about in aliases.items():
                    actions.append({"remove": {"index": old, "alias": name}})
                    if name != alias:
                        actions.append({"add": {"index": index, "alias": name, **about}})
        self._client.indices.update_aliases(actions=actions)
        self.forget()

    def sweep(self, sources: Iterable[str]) -> None:
        """Remove what earlier generations of this sink left behind: its indices that no alias points to."""
        for source in sources:
            found = self._client.indices.get(index=f"{self.alias(source)}-*", allow_no_indices=True)
            for index, about in found.items():
                own = self._about(about)
                if own.get("sink") == self._sink and own.get("source") == source and not about.get("aliases"):
                    self._client.indices.delete(index=index, ignore_unavailable=True)

    def _behind(self, alias: str) -> dict[str, tuple[Mapping[str, str], Mapping[str, Any]]]:
        """What is differ's word on the index behind the alias, and all its aliases; empty where there is no alias."""
        from elasticsearch import NotFoundError

        try:
            found = self._client.indices.get(index=alias)
        except NotFoundError:
            return {}
        behind = {index: (self._about(about), about.get("aliases", {})) for index, about in found.items()}
        if alias in behind or len(behind) > 1 or any(own.get("sink") != self._sink for own, _ in behind.values()):
            raise SinkError(
                f"sink {self._sink}: {alias} is there already, and this sink did not make it",
                hint="give the sink another index, or remove that one",
            )
        return behind

    @staticmethod
    def _about(index: Mapping[str, Any]) -> Mapping[str, str]:
        about: Mapping[str, str] = index.get("mappings", {}).get("_meta", {}).get("differ", {})
        return about

    def _make(
        self, index: str, source: str, stream: str, generation: str | None, aliases: Mapping[str, Any] | None = None
    ) -> None:
        about = {"sink": self._sink, "source": source, "stream": stream, "generation": generation}
        meta = {**self._mappings.get("_meta", {}), "differ": about}
        mappings = {**self._mappings, "_meta": meta}
        settings = self._settings or None
        self._client.indices.create(index=index, mappings=mappings, settings=settings, aliases=aliases)

    def _name(self, source: str, generation: str) -> str:
        digest = hashlib.sha256(f"{self._sink}/{generation}".encode()).hexdigest()[:12]
        return f"{self.alias(source)}-{digest}"
