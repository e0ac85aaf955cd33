"""What a search server keeps for one sink beside its documents: the checkpoint, and who owns the sink.

    <index>-differ/_doc/<sink>: {owner, checkpoint, generation, staging: {source: index}, at}

Each write names the sequence number of the one before (`if_seq_no`), so of two processes that believe they are the
sink one is refused. Invariant: after `take` nobody who took the book earlier can write it.
Source: Elasticsearch's optimistic concurrency control.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from differ.errors import FencedError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_MAPPINGS = {"dynamic": False, "properties": {"at": {"type": "date"}}}


class SearchBook:
    """The document of one sink; the caller maps the client's errors."""

    def __init__(self, client: Elasticsearch, index: str, name: str) -> None:
        self._client, self._index, self._name = client, index, name
        self._owner = uuid.uuid4().hex
        self._place: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        """What stands in it, as of the last call."""

    def take(self) -> None:
        """Become the owner."""
        if not self._client.indices.exists(index=self._index):
            self._create()
        self._read()
        self.note(owner=self._owner)

    def check(self) -> None:
        """Read it again. Raises FencedError when another process has taken it since."""
        self._read()
        if self.fields.get("owner") != self._owner:
            raise self._fenced()

    def note(self, **fields: Any) -> None:
        """Write these fields beside the others, durably. Raises FencedError."""
        from elasticsearch import ConflictError

        try:
            self._write(fields)
        except ConflictError:
            # An answer that was lost after the write looks the same as another owner; the document tells.
            self.check()
            self._write(fields)

    def _write(self, fields: dict[str, Any]) -> None:
        body = self.fields | fields | {"at": datetime.now(UTC).isoformat()}
        first: dict[str, Any] = {} if self._place else {"op_type": "create"}
        done = self._client.index(index=self._index, id=self._name, document=body, **first, **self._place)
        self.fields = body
        self._place = {"if_seq_no": done["_seq_no"], "if_primary_term": done["_primary_term"]}

    def _read(self) -> None:
        from elasticsearch import NotFoundError

        try:
            found = self._client.get(index=self._index, id=self._name)
        except NotFoundError:
            self.fields, self._place = {}, {}
            return
        self.fields = dict(found["_source"])
        self._place = {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}

    def _create(self) -> None:
        from elasticsearch import BadRequestError

        try:
            self._client.indices.create(index=self._index, mappings=_MAPPINGS)
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":  # another process was quicker
                raise

    def _fenced(self) -> FencedError:
        return FencedError(
            f"sink {self._name}: another process has opened it since, and owns it now",
            hint="let one process run a sink; give a second sink another name",
        )
