"""Lets the official Elasticsearch client talk to servers with OpenSearch's API.

The client asks for Elastic's own media types, which such servers refuse, and believes no server that does not call
itself Elasticsearch. A node of the transport says plain JSON in place of the first and answers the second. The calls
that the sink makes mean the same in both APIs; what else the client offers may not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elastic_transport import HttpHeaders, Urllib3HttpNode
from elastic_transport.client_utils import DEFAULT

_PLAIN = {"application/vnd.elasticsearch+json": "application/json"}
_PLAIN_LINES = {"application/vnd.elasticsearch+x-ndjson": "application/x-ndjson"}


class OpenSearchNode(Urllib3HttpNode):
    """One node of an OpenSearch cluster, for `Elasticsearch(.., node_class=OpenSearchNode)`."""

    def perform_request(
        self, method: str, target: str, body: bytes | None = None, headers: Any = None, request_timeout: Any = DEFAULT
    ) -> Any:
        """As the base class, with plain media types; every answer is taken for one of the expected product."""
        plain = HttpHeaders({name: _media_type(value) for name, value in (headers or {}).items()})
        answer = super().perform_request(method, target, body, plain, request_timeout)
        known = HttpHeaders({**answer.meta.headers, "x-elastic-product": "Elasticsearch"})
        return answer._replace(meta=replace(answer.meta, headers=known))


def _media_type(value: str) -> str:
    known = _PLAIN | _PLAIN_LINES
    return ", ".join(known.get(part.split(";")[0].strip(), part.strip()) for part in value.split(","))
