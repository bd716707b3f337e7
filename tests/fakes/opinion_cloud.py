"""A cloud that answers second opinions over real HTTP on loopback, as a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def said(label: str = "scratch", confidence: float = 0.97, good: float = 0.03) -> bytes:
    """Return an answer's body."""
    return json.dumps({"label": label, "confidence": confidence, "good": good, "model": "large fp32"}).encode()


class OpinionCloud(ThreadingHTTPServer):
    """Answers every POST with `status`, `headers` and `body`; keeps (path, headers, body) of each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.body = said()
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.silent = threading.Event()
        """Set: a request gets no answer until it is cleared or the server closes."""
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that was killed."""

    def images(self) -> list[bytes]:
        """Return the bodies that came, oldest first."""
        return [body for _, _, body in self.requests]


class _Handler(BaseHTTPRequestHandler):
    server: OpinionCloud
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        if self.server.silent.is_set():
            self.server.go_on.wait(30)
        try:
            self.send_response(self.server.status)
            for name, value in self.server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(self.server.body)))
            self.end_headers()
            self.wfile.write(self.server.body)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def opinion_cloud() -> Iterator[OpinionCloud]:
    """Serve until the block ends."""
    server = OpinionCloud()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
