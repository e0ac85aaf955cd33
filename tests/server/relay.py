"""A relay on a real port, and a plain HTTP client to call it with."""

import http.client
import io
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from differ.formats.frames import Frame, read_frames
from differ.project import Project
from differ.relay.watcher import HeadWatcher
from differ.server.app import build_app
from differ.server.services import Services
from differ.server.serving import Serving
from tests.canary import check_text

LISTEN = "127.0.0.1:0"


@dataclass(frozen=True)
class Reply:
    """An answer as it came. `headers`: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """What the answer says went wrong."""
        assert self.status >= 400, self
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def lines(self) -> list[Any]:
        """The body as JSON lines, which are all whole."""
        assert self.status == 200, self
        assert self.body.endswith(b"\n") or not self.body
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def scns(self) -> list[int]:
        return [line["scn"] for line in self.lines if "scn" in line]

    @property
    def frames(self) -> list[Frame]:
        assert self.status == 200, self
        return list(read_frames(io.BytesIO(self.body)))

    @property
    def cursor(self) -> str:
        return self.headers["differ-cursor"]

    @property
    def scanned(self) -> int:
        return int(self.headers["differ-scanned-through"])

    @property
    def has_more(self) -> bool:
        return {"true": True, "false": False}[self.headers["differ-more"]]


class Relay:
    """Serves a project until `stop`; `services` may be changed before `start`."""

    def __init__(self, project: Project, **services: Any) -> None:
        self.project = project
        self.watcher = HeadWatcher(project.catalog)
        self.services = Services.of(project, self.watcher, LISTEN, **services)
        self.serving = Serving(build_app(self.services), LISTEN, project.settings.relay.tls)

    def start(self) -> "Relay":
        self.watcher.start()
        self.serving.start()
        return self

    def stop(self, grace_seconds: float = 5.0) -> None:
        self.serving.stop(grace_seconds)
        self.watcher.stop()

    @property
    def url(self) -> str:
        return self.serving.url

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=60)

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> Reply:
        """One call on a connection of its own. body: JSON, or bytes as they are."""
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
            check_text(reply.body, f"the answer to {method} {path}")
            check_text(str(reply.headers), f"the headers of the answer to {method} {path}")
            return reply
        finally:
            connection.close()

    def get(self, path: str, **parameters: Any) -> Reply:
        query = urlencode({name: value for name, value in parameters.items() if value is not None}, doseq=True)
        return self.call("GET", f"{path}?{query}" if query else path)

    def stream(self, **parameters: Any) -> Reply:
        """`GET /v1/stream`."""
        return self.get("/v1/stream", **parameters)
