"""One file over real HTTP (or TLS) on loopback, from a server that misbehaves as it is told."""

from __future__ import annotations

import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class OddServer:
    """Serves `body` at every path. Attributes say what is wrong with it."""

    def __init__(self, body: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.body = body
        self.etag = ""
        self.cut_after: int | None = None
        """The connection breaks after so many bytes of a body."""
        self.flips: dict[int, int] = {}
        """Offset of a byte that comes wrong -> how many times more."""
        self.ignore_range = False
        self.wrong_range = 0
        self.status, self.headers = 0, dict[str, str]()
        """Answer this instead, where `status` is not 0."""
        self.extra_headers = dict[str, str]()
        self.elsewhere = dict[str, str]()
        """Path -> Location of a redirect."""
        self.drip_s = 0.0
        self.silent = False
        """Takes the request and says nothing."""
        self.asked: list[tuple[str, str, str]] = []
        """Path, Range and If-Range of each request."""
        self.sent = 0
        self._open = True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._open = False
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def starts(self) -> list[int]:
        """Return where the requests began."""
        return [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for _, asked, _ in self.asked]

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked, only_if = handler.headers.get("Range", ""), handler.headers.get("If-Range", "")
        self.asked.append((handler.path, asked, only_if))
        while self.silent and self._open:
            time.sleep(0.02)
        status, headers = self.status, dict(self.headers)
        if handler.path in self.elsewhere:
            status, headers = 302, {"Location": self.elsewhere[handler.path]}
        if status:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start = 0
        if asked and not self.ignore_range and only_if in ("", self.etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.body):
                handler.send_error(416)
                return
            handler.send_response(206)
            said = start + self.wrong_range
            handler.send_header("Content-Range", f"bytes {said}-{len(self.body) - 1}/{len(self.body)}")
        else:
            handler.send_response(200)
        body = bytearray(self.body[start:])
        for at, times in list(self.flips.items()):
            if times and start <= at and (self.cut_after is None or at < start + self.cut_after):
                body[at - start] ^= 1
                self.flips[at] = times - 1
        if self.etag:
            handler.send_header("ETag", self.etag)
        for name, value in self.extra_headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        self._send(handler, bytes(body if self.cut_after is None else body[: self.cut_after]))
        if self.cut_after is not None:
            handler.close_connection = True

    def _send(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            if not self.drip_s:
                handler.wfile.write(body)
                self.sent += len(body)
                return
            for at in range(len(body)):
                if not self._open:
                    return
                handler.wfile.write(body[at : at + 1])
                handler.wfile.flush()
                self.sent += 1
                time.sleep(self.drip_s)
        except OSError:
            pass  # the station turned away


@contextmanager
def odd_server(body: bytes, tls: ssl.SSLContext | None = None) -> Iterator[OddServer]:
    """Serve `body` until the end of the block."""
    server = OddServer(body, tls)
    try:
        yield server
    finally:
        server.close()
