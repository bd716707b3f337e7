"""A real HTTP server that takes webhooks: it answers what a test says, hangs, drips, or is not there."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    """`taken` are (path, headers, message) of what it answered 2xx to, `asked` how often it was asked at all."""

    def __init__(self, port: int = 0) -> None:
        self.status, self.hang_s, self.asked = 204, 0.0, 0
        self.answers: list[int] = []
        self.taken: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked += 1
                if hook.hang_s:
                    time.sleep(hook.hang_s)
                status = hook.answers.pop(0) if hook.answers else hook.status
                if 200 <= status < 300:
                    hook.bodies.append(body)
                    hook.taken.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass  # who asked has gone

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/SECRET-TOKEN?key=SECRET-KEY"

    def messages(self) -> list[dict[str, Any]]:
        return [message for _, _, message in self.taken]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
