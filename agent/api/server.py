"""HTTP on the device: the standard library's parser behind bounded workers, bounded bytes and absolute deadlines.

One request a connection. `workers` threads answer, `waiting` connections wait, further ones are turned away at once; whoever
has not sent a whole request by its deadline is cut off, however steadily he drips. So a slow or hostile client costs at most one
worker for `head_within_s` + `body_within_s`, and memory stays below workers * (max_body_bytes + 64 KiB).
"""

from __future__ import annotations

import errno
import hmac
import io
import queue
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from agent.api.exchange import Answer, Request, Response, error_response
from agent.api.request_reader import MAX_HEAD_BYTES, HeadTooLarge, RequestReader
from agent.ports.clock import Clock
from agent.ports.log import Log
from contract.errors import AddressInUse, InvalidConfig

MAX_LINE_BYTES = 8 << 10
_LINGER_S = 1.0
_LINGER_BYTES = 4 << 20
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class HttpRules:
    """Limits of the server. `token` "": none is asked for, and only requests that name this machine as their host are answered."""

    token: str = ""
    max_body_bytes: int = 16 << 20
    workers: int = 6
    waiting: int = 16
    head_within_s: float = 5.0
    body_within_s: float = 10.0
    answer_within_s: float = 10.0


class HttpServer:
    """Listens from the moment it is made; answers once started."""

    def __init__(self, host: str, port: int, answer: Answer, rules: HttpRules, clock: Clock, log: Log) -> None:
        """Bind. Port 0 takes a free one.

        Raises:
            AddressInUse: another program holds the port.
            InvalidConfig: the host is not an address of this machine, or the port may not be used.
        """
        self.answer, self.rules, self.clock, self.log = answer, rules, clock, log
        self.turned_away = 0
        self.cut_off = 0
        self.faults = 0
        self._socket = _listen(host, port)
        # Here and not by the thread: whoever is stopped at once has closed it by then.
        self._socket.settimeout(0.25)
        self.port = int(self._socket.getsockname()[1])
        self._connections: queue.Queue[socket.socket | None] = queue.Queue(rules.waiting)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="api", daemon=True)]
        self._threads += [
            threading.Thread(target=self._work, name=f"api-{n}", daemon=True) for n in range(rules.workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, within_s: float) -> None:
        """Stop listening; wait a moment for what is being answered."""
        self._stopping.set()
        self._socket.close()
        until_s = self.clock.monotonic() + within_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_s - self.clock.monotonic()))
        while True:
            try:
                waiting = self._connections.get_nowait()
            except queue.Empty:
                return
            if waiting is not None:
                waiting.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if self._stopping.is_set():
                    return
                # Out of descriptors, or a client that left again: neither ends the API.
                self.faults += 1
                self.log.fault("api", f"no connection could be taken: {error}")
                self._stopping.wait(0.1)
                continue
            try:
                self._connections.put_nowait(connection)
            except queue.Full:
                self.turned_away += 1
                connection.close()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                connection = self._connections.get(timeout=0.25)
            except queue.Empty:
                continue
            if connection is None:
                return
            try:
                _Handler(connection, self)
            except (TimeoutError, ConnectionError):
                self.cut_off += 1
            except Exception as error:  # noqa: BLE001 - a worker's outermost guard: counted, said, and the next is served
                self.faults += 1
                self.log.fault("api", f"a request failed: {type(error).__name__}: {error}")
            finally:
                connection.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        # As bytes where it is ASCII: a text goes through Python's codec for foreign names, a megabyte of tables.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.encode() if host.isascii() else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidConfig(f"api.host '{host[:80]}' is no address: {error}", hint='use e.g. "127.0.0.1"') from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(32)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"port {port} of {host} is held by another program", hint="set [api] port to a free one, or 0 for none"
            ) from error
        raise InvalidConfig(
            f"the local API cannot listen on {host}:{port}: {error.strerror or error}",
            hint="correct [api] host and port",
        ) from error
    return listener


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    protocol_version = "HTTP/1.1"
    server_version = "plumbline-agent"
    sys_version = ""

    def __init__(self, connection: socket.socket, server: HttpServer) -> None:
        self._http = server
        self._reader = RequestReader(connection, server.clock, server.rules.head_within_s)
        self._connection = connection
        super().__init__(connection, ("", 0), server)  # type: ignore[arg-type]  # it only keeps it

    def setup(self) -> None:
        self.requestline, self.command, self.request_version = "", "", "HTTP/1.1"
        self.connection = self._connection
        self.rfile = io.BufferedReader(self._reader, 8192)
        self.wfile = io.BytesIO()

    def handle(self) -> None:
        self.close_connection = True
        try:
            self.raw_requestline = self.rfile.readline(MAX_LINE_BYTES + 1)
            if not self.raw_requestline:
                return
            if len(self.raw_requestline) > MAX_LINE_BYTES:
                self._send(error_response(414, f"the request line is over {MAX_LINE_BYTES >> 10} KiB"))
                return
            if not self.parse_request():
                return  # it has sent why
        except HeadTooLarge:
            self._send(error_response(431, f"the request's head is over {MAX_HEAD_BYTES >> 10} KiB"))
            return
        if self.command == "GET":
            self._send(self._refuse() or self._answer(b""))
        elif self.command == "POST":
            refused_or_body = self._refuse() or self._body()
            if isinstance(refused_or_body, Response):
                self._send(refused_or_body)
            else:
                self._send(self._answer(refused_or_body))
        else:
            self._send(error_response(405, "this API takes GET and POST", Allow="GET, POST"))

    def finish(self) -> None:
        self.wfile.close()
        self.rfile.close()

    def handle_expect_100(self) -> bool:
        return True  # said in `_body`, once it is certain that the body is wanted

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the parser found wrong, as JSON."""
        self._send(error_response(int(code), message or "that is no request this API understands"))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests are counted."""

    def _refuse(self) -> Response | None:
        token = self._http.rules.token
        if token:
            given = self.headers.get("Authorization", "")
            # Over bytes: compare_digest refuses text that is not ASCII.
            if not hmac.compare_digest(given.encode(errors="replace"), f"Bearer {token}".encode()):
                return error_response(
                    401, "a token is needed", "send Authorization: Bearer TOKEN", **{"WWW-Authenticate": "Bearer"}
                )
            return None
        # A web page that got its own name to resolve to this machine must not read a station's decisions (DNS rebinding).
        host = self.headers.get("Host", "localhost").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") and ":" in host else host
        if name in _LOCAL_NAMES:
            return None
        return error_response(
            403, "this API answers this machine only", "call it as localhost, or set [api] token_file"
        )

    def _body(self) -> bytes | Response:
        if self.headers.get("Transfer-Encoding"):
            return error_response(411, "a Content-Length is needed")
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1:
            return error_response(411 if not lengths else 400, "one Content-Length is needed")
        text = lengths[0].strip()
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            return error_response(400, "the Content-Length is no number")
        length, limit = int(text), self._http.rules.max_body_bytes
        if length > limit:
            return error_response(
                413, f"the body is {length} bytes, over {limit}", "send a smaller image, or set [api] max_body_mib"
            )
        self._reader.until_s = self._http.clock.monotonic() + self._http.rules.body_within_s
        self._reader.budget = length + 8192
        if self.headers.get("Expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(length)
        if len(body) != length:
            raise ConnectionError("the client left in the middle of its body")
        return body

    def _answer(self, body: bytes) -> Response:
        path, _, query = self.path.partition("?")
        return self._http.answer(Request(self.command, path, query, body))

    def _send(self, response: Response) -> None:
        self.request_version = self.protocol_version  # what could not be parsed is answered in full all the same
        self.send_response(response.code)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Connection", "close")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        head = self.wfile.getvalue()  # type: ignore[attr-defined]  # the BytesIO of `setup`
        # One deadline for the whole: sendall counts its timeout over all of it.
        self._connection.settimeout(self._http.rules.answer_within_s)
        self._connection.sendall(head + response.body)
        self._linger()

    def _linger(self) -> None:
        """Let the client read the answer: closing on unread bytes resets the connection, and the answer with it."""
        until_s, left = self._http.clock.monotonic() + _LINGER_S, _LINGER_BYTES
        try:
            self._connection.shutdown(socket.SHUT_WR)
            while left > 0 and (left_s := until_s - self._http.clock.monotonic()) > 0:
                self._connection.settimeout(left_s)
                got = len(self._connection.recv(65536))
                if not got:
                    return
                left -= got
        except OSError:
            return
