"""HTTP servers in threads, for sinks that send requests: each answer is what a test says."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Request:
    """What the server was sent; the names of headers are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What the server says."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class HTTPServer:
    """Answers each request by `respond`, and keeps what came in `requests`; a context manager."""

    def __init__(self, respond: Callable[[Request], Answer] = lambda request: Answer()) -> None:
        self.respond = respond
        self.requests: list[Request] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens, also while it is stopped."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                outer.requests.append(request)
                answer = outer.respond(request)
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else answer.body)

            do_GET = do_PUT = do_HEAD = do_POST  # noqa: N815

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_arguments: object) -> None:
                """A client that leaves in the middle is no news."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Listen no more; connections that are open stay so."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()


class Registry(HTTPServer):
    """The calls of a schema registry that a sink makes. refuse: answered in place of an id."""

    def __init__(self) -> None:
        super().__init__(self._register)
        self.schemas: list[str] = []
        self.subjects: list[str] = []
        self.refuse: Answer | None = None

    def _register(self, request: Request) -> Answer:
        if self.refuse is not None:
            return self.refuse
        schema = json.loads(request.body)["schema"]
        if schema not in self.schemas:
            self.schemas.append(schema)
        self.subjects.append(request.path.split("/")[2])
        return Answer(body=json.dumps({"id": self.schemas.index(schema) + 1}).encode())
